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


def lower(
    what: str,
    a: list[float],
    b: list[float],
    unit: str = " %",
    digits: int = 2,
    margin: float = 0.0,
    note: str = "",
) -> Finding:
    """The finding that the `a` are smaller than the `b`; None where Welch's t test at 5 % finds no difference.

    With one seed, without any spread, or where one is infinite (a goal not reached), nothing is decided.

    Args:
        margin: by less than this the `a` may be larger.
        note: ends the text.

    >>> lower("error", [1.0, 1.1], [2.0, 2.1]).held, lower("error", [1.0], [2.0]).held
    (True, None)
    """
    if np.inf in (*a, *b):
        return Finding(f"{what}: not reached by all runs", None)
    if not (a and b):
        return Finding(f"{what}: a network has no finished run (undecided){note}", None)
    one = " (one seed: undecided)" if min(len(a), len(b)) == 1 else ""
    text = f"{what}: {mean_std(a, digits)}{unit} against {mean_std(b, digits)}{unit}{one}{note}"
    if one or spread(a) == spread(b) == 0:
        return Finding(text, None)
    from scipy.stats import ttest_ind

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of lost precision, where all of one side are equal
        low, high = ttest_ind(b, a, equal_var=False).confidence_interval(0.95)  # of mean(b) - mean(a)
    return Finding(text, True if low > -margin else False if high < -margin else None)


def no_worse(what: str, a: list[float], b: list[float], margin: float = 1.0) -> Finding:
    """The finding that the `a` are above the `b` by less than a margin, at the same level as in `lower`.

    >>> no_worse("error", [1.0, 1.1, 1.2], [1.0, 1.1, 1.3]).held
    True
    """
    return lower(f"{what} (by {margin:g} or more)", a, b, margin=margin)
