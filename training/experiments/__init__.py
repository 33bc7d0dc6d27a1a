"""The articles' claims as values: networks and recipes to train, what was claimed, how to draw and judge it."""
