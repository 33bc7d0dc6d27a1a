"""Searching dimensions and recipes: KerasTuner proposes, the engine of `fit.py` trains."""
