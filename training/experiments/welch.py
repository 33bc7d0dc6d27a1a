"""Means over seeds compared by Welch's t test."""

import statistics
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Finding:
    """One sentence of a verdict; `held` is True, False, or None where the runs cannot tell."""

    text: str
    held: bool | None


# --- figures with their spread ----------------------------------------------------------------------------------


def mean(values: list[float]) -> float:
    """Arithmetic mean."""
    return statistics.fmean(values)


def spread(values: list[float]) -> float:
    """Standard deviation over seeds; 0 of a single one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def mean_std(values: list[float], digits: int = 2) -> str:
    """Mean and standard deviation as text.

    >>> said([1.0, 2.0]), said([3.0])
    ('1.50 +- 0.71', '3.00')
    """
    text = f"{mean(values):.{digits}f}"
    return f"{text} +- {spread(values):.{digits}f}" if len(values) > 1 else text


def lower(what: str, a: list[float], b: list[float], unit: str = " %", digits: int = 2) -> Finding:
    """The finding that the `a` are smaller than the `b`; open where Welch's t test at 5 % finds no difference.

    With one seed, or no spread at all, nothing is known of chance, and nothing is decided.

    >>> less("error", [1.0, 1.1], [2.0, 2.1]).held, less("error", [1.0], [2.0]).held
    (True, None)
    """
    low, high = _interval(a, b)
    return Finding(_compared(what, a, b, unit, digits), True if low > 0 else False if high < 0 else None)


def no_worse(what: str, a: list[float], b: list[float], margin: float = 1.0, unit: str = " %") -> Finding:
    """The finding that the `a` are above the `b` by less than a margin, with the same certainty as in `lower`.

    >>> not_above("error", [1.0, 1.1, 1.2], [1.0, 1.1, 1.3]).held
    True
    """
    low, high = _interval(a, b)
    text = _compared(f"{what} (by {margin:g} or more)", a, b, unit)
    return Finding(text, True if low > -margin else False if high < -margin else None)


def _interval(a: list[float], b: list[float]) -> tuple[float, float]:
    """Where the mean of the `b` less that of the `a` lies, at 95 %; anywhere if nothing can be said."""
    if min(len(a), len(b)) < 2 or spread(a) == spread(b) == 0 or np.inf in (*a, *b):
        return -np.inf, np.inf
    from scipy.stats import t

    one, other = (spread(values) ** 2 / len(values) for values in (a, b))
    free = (one + other) ** 2 / (one**2 / (len(a) - 1) + other**2 / (len(b) - 1))  # Satterthwaite's
    doubt = t.ppf(0.975, free) * (one + other) ** 0.5
    difference = mean(b) - mean(a)
    return difference - doubt, difference + doubt


def _compared(what: str, a: list[float], b: list[float], unit: str, digits: int = 2) -> str:
    if not (a and b):
        return f"{what}: a network has no run that came to its end (undecided)"
    one = " (one seed: undecided)" if min(len(a), len(b)) == 1 else ""
    return f"{what}: {mean_std(a, digits)}{unit} against {mean_std(b, digits)}{unit}{one}"
