"""Exported networks: written, proved in the runtimes that will run them, published whole or not at all."""
