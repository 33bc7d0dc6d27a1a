"""The parts of an experiment: trials, their results, the claim with its verdict and figures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_cnns.architecture import Architecture
from training.data.dataset import DataSet
from training.experiments.welch import Finding, lower
from training.recipes.recipe import Recipe

ERRORS = {"train": "training error", "test": "test error"}


@dataclass(frozen=True)
class Trial:
    """One network under one recipe, trained once a seed.

    Attributes:
        label: short, unique, for tables and folders.
        after: label of the trial whose network of the same seed it starts from, or None.
        start: (that network, the untrained one of this trial, some preprocessed training images) -> the network
            to start from.
    """

    label: str
    architecture: Architecture
    recipe: Recipe
    after: str | None = None
    start: Callable[[keras.Model, keras.Model, np.ndarray], keras.Model] | None = None


@dataclass(frozen=True)
class RunResult:
    """One trial's finished run with one seed: its folder, `result.json`, the rows of `history.csv`."""

    label: str
    seed: int
    folder: Path
    result: dict
    history: list[dict]

    @property
    def whole(self) -> bool:
        """Whether it finished. A run that diverged has no network, and the errors of guessing."""
        return "diverged" not in self.result


@dataclass(frozen=True)
class ExperimentResults:
    """All finished runs of an experiment.

    Attributes:
        extra: measurements of the experiment's `study`.
    """

    data: DataSet
    trials: tuple[Trial, ...]
    runs: dict[str, list[RunResult]]
    extra: dict = field(default_factory=dict)

    def each(self, label: str, value: Callable[[RunResult], float]) -> list[float]:
        """A figure of each seed."""
        return [value(run) for run in self.runs[label]]

    def whole(self, label: str) -> list[RunResult]:
        """The finished runs of a trial."""
        return [run for run in self.runs[label] if run.whole]

    def error(self, label: str, split: str = "test") -> list[float]:
        """Error in per cent, of each seed."""
        return self.each(label, lambda run: 100 * (1 - run.result[split]["top1"]))

    def below(self, what: str, a: str, b: str, split: str = "test") -> Finding:
        """The finding that trial `a` has a lower error than trial `b`."""
        return lower(what, self.error(a, split), self.error(b, split))

    def speeds(self, label: str) -> list[float]:
        """Training images a second, of each finished run."""
        return [run.result["images_per_second"] for run in self.whole(label)]

    @property
    def seeds(self) -> int:
        return len(next(iter(self.runs.values())))


@dataclass(frozen=True)
class Experiment:
    """A claim of a paper, and how it is tested.

    Attributes:
        name: on the command line; the module's, with hyphens.
        title, claim: what was claimed, by whom, with the figures.
        trials: data set -> what to train, at a budget of 1.
        judge: results -> findings.
        draw: results -> pictures by file name.
        study: results -> plain data measured on the trained networks, or None.
        seeds: number of seeds by default.
        caveats: what differs from the paper, and what small data cannot show.
    """

    name: str
    title: str
    claim: str
    trials: Callable[[DataSet], tuple[Trial, ...]]
    judge: Callable[[ExperimentResults], list[Finding]]
    draw: Callable[[ExperimentResults], dict[str, Any]]
    study: Callable[[ExperimentResults], dict] | None = None
    seeds: int = 3
    caveats: str = ""


def epochs_to(history: list[dict], goal: float, column: str = "val_top1") -> float:
    """Epochs until the error is at most `goal` per cent, interpolated between epochs; infinite where it never is.

    Args:
        column: "val_top1", the validation error after an epoch, or "top1", the training error during it.

    >>> epochs_to([{"epoch": 1, "val_top1": 0.5}, {"epoch": 2, "val_top1": 1.0}], 25)
    1.5
    """
    before = (0, 100.0)
    for row in history:
        now = (row["epoch"], 100 * (1 - row[column]))
        if now[1] <= goal:
            way = (before[1] - goal) / (before[1] - now[1]) if before[0] else 1.0
            return before[0] + way * (now[0] - before[0])
        before = now
    return float("inf")
