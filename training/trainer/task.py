"""`Task`: what is trained. Classification and detection are tasks; docs/adding_a_task.md adds another."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np

from training.engine.devices import Compute
from training.report.folder import Log
from training.run_folder.config import RunConfig
from training.trainer.checkpoint_saver import SaveInterval


@dataclass(frozen=True)
class Task(ABC):
    """One run of a task: all in which tasks differ. Everything else is the trainer's.

    Attributes:
        config: all that is needed to repeat the run; its `recipe` is a `BaseRecipe`.
        data: has an attribute for each of `splits`, which have `labels`, a length and `take(indices)`.
        compute: devices, precision and XLA, as chosen.
        folder, log: where the run writes.
        every: how often it saves within an epoch.
        settings: what a search chose, for TensorBoard's HParams.
        columns: of `history.csv`.
        progress: columns that the progress bar shows within an epoch.
        monitor: column that decides the best epoch, early stopping and a plateau; higher is better.
        splits: measured at the end of the run, in this order.
        compared: figures of a split by which TensorBoard compares runs.
    """

    config: RunConfig
    data: Any
    compute: Compute
    folder: Path
    log: Log
    every: SaveInterval = SaveInterval()
    settings: Mapping[str, str] = field(default_factory=dict)

    columns: ClassVar[tuple[str, ...]]
    progress: ClassVar[tuple[str, ...]] = ("loss",)
    monitor: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    compared: ClassVar[tuple[str, ...]]

    # --- what is trained

    @abstractmethod
    def build(self) -> tuple[keras.Model, keras.Model]:
        """(the model that trains, not yet compiled; the model that is saved). They share their weights."""

    @abstractmethod
    def loss(self) -> keras.losses.Loss | None:
        """The loss to compile with, or None where the model that trains computes its own."""

    @abstractmethod
    def describe(self, saved: keras.Model) -> str:
        """The size of the network, for the log."""

    def final(self, saved: keras.Model) -> keras.Model:
        """The model to save and to measure, made of the one that shares the trained weights."""
        return saved

    # --- batches

    @property
    @abstractmethod
    def steps(self) -> int:
        """Steps of an epoch."""

    @abstractmethod
    def train_batches(self, epoch: int = 0, step: int = 0):
        """Training batches from a step of an epoch to the end: the rest of the unbroken stream."""

    @abstractmethod
    def image_names(self, epoch: int, step: int) -> str:
        """The images of a training batch, for the log."""

    @abstractmethod
    def validation(self):
        """What `fit` takes as `validation_data`, or None."""

    @property
    def validation_epochs(self) -> list[int]:
        """Epochs, from 1, after which the validation split is measured."""
        return list(range(1, self.config.recipe.epochs + 1))

    @cached_property
    def first_batch(self) -> tuple:
        """The first training batch as arrays."""
        return keras.tree.map_structure(np.asarray, tuple(next(iter(self.train_batches()))))

    def example(self, images: int) -> tuple:
        """A batch of this size made of the first one, to try a step with."""
        return keras.tree.map_structure(lambda a: np.resize(a, (images, *a.shape[1:])), self.first_batch)

    # --- figures and pictures

    @abstractmethod
    def forward(self, model: keras.Model) -> Callable:
        """Preprocessed images -> outputs of the saved model in inference mode, compiled."""

    @abstractmethod
    def sample(self) -> np.ndarray:
        """A batch of preprocessed images as `forward` takes it."""

    @abstractmethod
    def predict(self, forward: Callable, split: str) -> Any:
        """What `forward` gives for a whole split."""

    @abstractmethod
    def figures(self, predictions: Any, split: str) -> dict:
        """The figures of a split, as they stand in `result.json`."""

    @abstractmethod
    def facts(self, saved: keras.Model, history: list[dict]) -> dict:
        """The part of `result.json` that says what was trained: `arch`, `data`, `recipe`, `params` ..."""

    def first_picture(self):
        """A figure of the first training batch, or None."""
        return None

    def pictures(self, saved: keras.Model, history: list[dict], predictions: Any) -> dict[str, Any]:
        """Figures by name, for the run folder: of the history, and of the predictions on the last split."""
        return {}

    def board_pictures(self, saved: keras.Model) -> dict[str, Any]:
        """More figures by name, for TensorBoard alone."""
        return {}

    @classmethod
    @abstractmethod
    def summary(cls, result: dict, folder: Path) -> str:
        """The last line of a run, for people and scripts."""
