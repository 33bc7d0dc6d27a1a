"""The errors that end a command with one line, and the context that makes them of a ValueError."""

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(Exception):
    """A bad argument: one line, exit status 2."""


class RunError(Exception):
    """The run failed: one line, exit status 1."""


class DiskFull(RunError):
    """There is no room for what a run must write."""


class Diverged(RunError):
    """A loss or a weight is no longer finite; a smaller rate usually helps."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Inside, a ValueError is the user's: it becomes a one-line refusal. A network that fails is a failure."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error
    except ConnectionError as error:
        raise RunError(str(error)) from error
    except ModuleNotFoundError as error:
        raise UsageError(f"this needs {error.name}, which is not installed") from error


class DataError(ValueError):
    """Data that cannot be used. The text is one line: the rule, what came, the nearest right thing."""


def some(items, limit: int = 10) -> str:
    """Up to `limit` items in one line, and how many more there are.

    >>> some("abc", 2)
    'a, b and 1 more'
    """
    items = [str(item) for item in items]
    more = f" and {len(items) - limit:,} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
