"""Pretrained weights: registry, download, reading, matching with a network, and writing for PyTorch."""
