"""Errors that end a command with one line, and a context manager that turns a ValueError into one."""

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(Exception):
    """A bad argument: one line, exit status 2."""


class RunError(Exception):
    """The run failed: one line, exit status 1."""


class DiskFull(RunError):
    """The disk has no room for a file that the run must write."""


class Diverged(RunError):
    """A loss or a weight is no longer finite; a smaller learning rate usually helps."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turns a ValueError inside the block into a UsageError, and a network's ConnectionError into a RunError."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error
    except ConnectionError as error:
        raise RunError(str(error)) from error
    except ModuleNotFoundError as error:
        raise UsageError(f"this needs {error.name}, which is not installed") from error


class DataError(ValueError):
    """Data that cannot be used. The text is one line: the rule, what was found, the nearest valid value."""


def some(items, limit: int = 10) -> str:
    """Up to `limit` items in one line, and the number of the others.

    >>> some("abc", 2)
    'a, b and 1 more'
    """
    items = [str(item) for item in items]
    more = f" and {len(items) - limit:,} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
