"""Compares means over seeds by Welch's t test."""

import warnings
from dataclasses import dataclass

import numpy as np

from training.report.evaluation import mean_std, spread


@dataclass(frozen=True)
class Finding:
    """One sentence of a verdict; `held` is True, False, or None where the runs do not decide it."""

    text: str
    held: bool | None


def lower(what: str, a: list[float], b: list[float], unit: str = " %", digits: int = 2) -> Finding:
    """The finding that the `a` are smaller than the `b`; None where Welch's t test at 5 % finds no difference.

    With one seed, or without any spread, nothing is decided.

    >>> lower("error", [1.0, 1.1], [2.0, 2.1]).held, lower("error", [1.0], [2.0]).held
    (True, None)
    """
    low, high = _interval(a, b)
    return Finding(_compared(what, a, b, unit, digits), True if low > 0 else False if high < 0 else None)


def no_worse(what: str, a: list[float], b: list[float], margin: float = 1.0, unit: str = " %") -> Finding:
    """The finding that the `a` are above the `b` by less than a margin, at the same level as in `lower`.

    >>> no_worse("error", [1.0, 1.1, 1.2], [1.0, 1.1, 1.3]).held
    True
    """
    low, high = _interval(a, b)
    text = _compared(f"{what} (by {margin:g} or more)", a, b, unit)
    return Finding(text, True if low > -margin else False if high < -margin else None)


def _interval(a: list[float], b: list[float]) -> tuple[float, float]:
    """The 95 % confidence interval of mean(b) - mean(a); unbounded where there is too little to compute it."""
    if min(len(a), len(b)) < 2 or spread(a) == spread(b) == 0 or np.inf in (*a, *b):
        return -np.inf, np.inf
    from scipy.stats import ttest_ind

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of lost precision, where all of one side are equal
        return ttest_ind(b, a, equal_var=False).confidence_interval(0.95)


def _compared(what: str, a: list[float], b: list[float], unit: str, digits: int = 2) -> str:
    if not (a and b):
        return f"{what}: a network has no finished run (undecided)"
    one = " (one seed: undecided)" if min(len(a), len(b)) == 1 else ""
    return f"{what}: {mean_std(a, digits)}{unit} against {mean_std(b, digits)}{unit}{one}"
