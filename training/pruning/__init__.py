"""Pruning of trained networks: ResRep and by magnitude."""
