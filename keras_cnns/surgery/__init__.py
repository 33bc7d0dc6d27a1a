"""Model -> model. Every operation works on a `Draft` of the graph and never touches the original."""
