"""Benchmarks: one process a contestant, rounds taken in turn, ratios within one run."""
