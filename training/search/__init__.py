"""Searches dimensions and recipes: KerasTuner proposes, the trainer of `fit.py` trains."""
