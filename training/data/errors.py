"""The one error of bad data, whatever its source."""


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
