"""Recursion limit for very deep models: Keras traverses a graph recursively, one Python frame a layer."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

LIMIT = 40_000  # ResNet-1202 has about 4,800 layers in a row; a frame costs no C stack since Python 3.11


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Raises Python's recursion limit inside the `with` block and restores it afterwards."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, LIMIT))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
