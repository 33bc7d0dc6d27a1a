"""The training loop and its callbacks, for every task and algorithm."""
