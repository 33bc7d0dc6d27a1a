"""One file a paper: citation, table, public names."""
