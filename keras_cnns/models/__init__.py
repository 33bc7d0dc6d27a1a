"""The networks, one file for each paper: citation, table, public names."""
