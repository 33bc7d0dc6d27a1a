"""When a run saves: after every epoch, at intervals within one, and on a signal to stop."""

import time
from dataclasses import dataclass
from pathlib import Path

import keras

from training.engine.backends import backend
from training.engine.step import sync_batch_norm
from training.processes import Pending
from training.run_folder import checkpoints, tensors
from training.run_folder.checkpoints import Position

SHARE = 20  # saving takes at most about a twentieth of the time, however slow the disk


@dataclass(frozen=True)
class SaveInterval:
    """How often to save within an epoch: in steps or in seconds, whichever is given."""

    steps: int | None = None
    seconds: float | None = 600.0


class ProgressCounter(keras.callbacks.Callback):
    """Counts epochs and steps. It runs first, since other callbacks read it.

    Attributes:
        place: epochs finished, steps done in the one under way.
        sums: of the metrics at `place`, for an epoch that starts in its middle.
    """

    def __init__(self, place: Position, sums: dict, steps: int):
        super().__init__()
        self.place, self.sums, self.steps = place, sums, steps

    def on_epoch_begin(self, epoch, logs=None):
        if epoch != self.place.epoch:
            self.place = Position(epoch, 0, epoch * self.steps)
        elif self.place.step:
            tensors.scatter(self.model, self.sums)  # Keras has just reset them
        self.offset = self.place.step

    def on_train_batch_end(self, batch, logs=None):
        step = self.offset + batch + 1
        self.place = Position(self.place.epoch, step, self.place.epoch * self.steps + step)

    def finished(self) -> Position:
        """The place at the end of the epoch under way."""
        return Position(self.place.epoch + 1, 0, (self.place.epoch + 1) * self.steps)


class CheckpointSaver(keras.callbacks.Callback):
    """Writes checkpoints, with the states of the callbacks; when a signal is pending, saves and acts on it.

    It runs last: what other callbacks did at the end of an epoch is in the checkpoint. Saving changes nothing, so
    a run that saves more often has the same weights.
    """

    def __init__(
        self,
        folder: Path,
        run: str,
        every: SaveInterval,
        progress: ProgressCounter,
        stateful: dict,
        pending: Pending,
    ):
        super().__init__()
        self.folder, self.run, self.every, self.progress = folder, run, every, progress
        self.stateful, self.pending = stateful, pending
        self.last, self.since, self.took = time.monotonic(), 0, 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.since += 1
        if self.pending.number is not None:
            self.save(self.progress.place)
            self.pending.act()
        elif self.progress.place.step < self.progress.steps and self._due():
            self.save(self.progress.place)

    def on_test_begin(self, logs=None):
        self.sums = tensors.metrics(self.model)  # validation resets them

    def on_test_batch_end(self, batch, logs=None):
        self.model.stop_evaluating = self.pending.number is not None

    def on_test_end(self, logs=None):
        if self.pending.number is not None:
            self.save(self.progress.place, self.sums)
            self.pending.act()

    def on_epoch_end(self, epoch, logs=None):
        sync_batch_norm(self.model)
        self.save(self.progress.finished())
        self.pending.act()

    def save(self, place: Position, sums: dict | None = None) -> None:
        """Writes a checkpoint now."""
        began = time.monotonic()
        backend.sync_variables(self.model)
        states = {name: callback.state for name, callback in self.stateful.items()}
        checkpoints.save(self.folder, checkpoints.STEP, place, self.model, states, self.run, sums)
        self.last, self.since = time.monotonic(), 0
        self.took = self.last - began

    def _due(self) -> bool:
        if self.every.steps and self.since >= self.every.steps:
            return True
        seconds = self.every.seconds
        return seconds is not None and time.monotonic() - self.last >= max(seconds, SHARE * self.took)
