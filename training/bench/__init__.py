"""Benchmarks: each competitor in its own process, rounds measured in turn, ratios within one run."""
