"""Pretrained weights: which there are, fetching, reading and fitting them, and writing them for PyTorch."""
