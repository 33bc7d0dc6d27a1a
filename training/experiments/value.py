"""What an experiment is: trials, a claim, a drawing, a judgement. It has no training of its own."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_cnns.architecture import Architecture
from training.data.dataset import DataSet
from training.recipe import Recipe


@dataclass(frozen=True)
class Trial:
    """One network under one recipe, trained once a seed.

    Attributes:
        label: short, unique, for tables and folders.
        after: label of the trial whose network of the same seed it starts from, or None.
        start: (that network, the untrained one of this trial, some training images as it is fed them) -> the
            network to start from.
    """

    label: str
    architecture: Architecture
    recipe: Recipe
    after: str | None = None
    start: Callable[[keras.Model, keras.Model, np.ndarray], keras.Model] | None = None


@dataclass(frozen=True)
class Done:
    """One trial's finished run with one seed: its folder, `result.json`, the rows of `history.csv`."""

    label: str
    seed: int
    folder: Path
    result: dict
    history: list[dict]

    @property
    def whole(self) -> bool:
        """Whether it was trained to the end. One that diverged has no network, and the errors of guessing."""
        return "diverged" not in self.result


@dataclass(frozen=True)
class Outcome:
    """All finished runs of an experiment.

    Attributes:
        extra: what the experiment's `study` measured beyond the runs.
    """

    data: DataSet
    trials: tuple[Trial, ...]
    runs: dict[str, list[Done]]
    extra: dict = field(default_factory=dict)

    def each(self, label: str, value: Callable[[Done], float]) -> list[float]:
        """A figure of every seed's run."""
        return [value(run) for run in self.runs[label]]

    def whole(self, label: str) -> list[Done]:
        """The runs of a trial that were trained to the end."""
        return [run for run in self.runs[label] if run.whole]

    def error(self, label: str, split: str = "test") -> list[float]:
        """Error in per cent, of every seed."""
        return self.each(label, lambda run: 100 * (1 - run.result[split]["top1"]))

    def speeds(self, label: str) -> list[float]:
        """Training images a second, of every seed whose run was trained to the end."""
        return [run.result["images_per_second"] for run in self.whole(label)]

    @property
    def seeds(self) -> int:
        return len(next(iter(self.runs.values())))


@dataclass(frozen=True)
class Finding:
    """One sentence of a verdict; `held` is True, False, or None where the runs cannot tell."""

    text: str
    held: bool | None


@dataclass(frozen=True)
class Experiment:
    """A claim of the articles or their papers, to be tried.

    Attributes:
        name: on the command line, and the module's, with hyphens.
        title, claim: what was claimed, by whom, with the figures.
        trials: data set -> what to train, at a budget of 1.
        judge: outcome -> findings.
        draw: outcome -> pictures by file name.
        study: outcome -> plain data measured on the trained networks, or None.
        seeds: how many by default.
        caveats: what differs from the paper, and what small data cannot show.
    """

    name: str
    title: str
    claim: str
    trials: Callable[[DataSet], tuple[Trial, ...]]
    judge: Callable[[Outcome], list[Finding]]
    draw: Callable[[Outcome], dict[str, Any]]
    study: Callable[[Outcome], dict] | None = None
    seeds: int = 3
    caveats: str = ""


# --- figures with their spread ----------------------------------------------------------------------------------


def mean(values: list[float]) -> float:
    """Arithmetic mean."""
    return statistics.fmean(values)


def spread(values: list[float]) -> float:
    """Standard deviation over seeds; 0 of a single one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def said(values: list[float], digits: int = 2) -> str:
    """Mean and standard deviation as text.

    >>> said([1.0, 2.0]), said([3.0])
    ('1.50 +- 0.71', '3.00')
    """
    text = f"{mean(values):.{digits}f}"
    return f"{text} +- {spread(values):.{digits}f}" if len(values) > 1 else text


def less(what: str, a: list[float], b: list[float], unit: str = " %") -> Finding:
    """The finding that the `a` are smaller than the `b`; open where Student's t test at 5 % finds no difference.

    With two seeds a difference counts from 4.3 of its standard errors on, with three from 2.8. With one seed each
    nothing is known of the spread, and nothing is decided.

    >>> less("error", [1.0, 1.1], [2.0, 2.1]).held, less("error", [1.0], [2.0]).held
    (True, None)
    """
    from scipy.stats import t

    if not (a and b):
        return Finding(f"{what}: no run came to its end (undecided)", None)
    difference = mean(b) - mean(a)
    text = f"{what}: {said(a)}{unit} against {said(b)}{unit}"
    if min(len(a), len(b)) < 2:
        return Finding(f"{text} (one seed: undecided)", None)
    free = len(a) + len(b) - 2
    pooled = ((len(a) - 1) * spread(a) ** 2 + (len(b) - 1) * spread(b) ** 2) / free
    doubt = t.ppf(0.975, free) * (pooled * (1 / len(a) + 1 / len(b))) ** 0.5
    return Finding(text, None if abs(difference) <= doubt else difference > 0)
