"""Recipes as values: papers, defaults, schedules, optimizers, initializers."""
