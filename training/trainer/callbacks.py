"""Callbacks of a run. Those with a `state` are restored from checkpoints."""

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from training.engine.backends import backend
from training.engine.step import StepModel, steps_done, sync_batch_norm
from training.errors import Diverged
from training.recipes.schedules import Plateau, Rate
from training.report.folder import History
from training.report.progress import Bar
from training.report.tensorboard import Board
from training.run_folder import checkpoints
from training.trainer.checkpoint_saver import ProgressCounter

WARM_UP = 3  # steps that trace, compile and fill buffers


class NaNMonitor(keras.callbacks.Callback):
    """Stops on a loss or a weight that is not finite, before anything is saved.

    Before validation it averages the batch-norm statistics over replicas.

    Args:
        log_images: takes epoch and step, both from 0, and logs which images that batch was made of.
    """

    def __init__(self, progress: ProgressCounter, log_images: Callable[[int, int], None]):
        super().__init__()
        self.progress, self.log_images = progress, log_images

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            place = self.progress.place
            self.log_images(place.epoch, place.step - 1)
            raise Diverged(
                f"the loss is {logs['loss']} at step {place.step} of epoch {place.epoch + 1}: nothing was saved "
                "after the last good checkpoint; log.txt names the images of that batch; "
                "a smaller --set optimizer.rate usually helps"
            )

    def on_test_begin(self, logs=None):
        sync_batch_norm(self.model)
        for variable in self.model.variables:
            value = keras.ops.convert_to_numpy(variable)
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise Diverged(
                    f"{variable.path} is not finite after epoch {self.progress.place.epoch + 1}: nothing was "
                    "saved after the last good checkpoint; a smaller --set optimizer.rate usually helps"
                )


class SwapEMAWeights(keras.callbacks.Callback):
    """Validates the moving average of the weights, which is what a recipe with `ema` keeps.

    Keras' own callback swaps the two by sums and differences, which changes the weights in their last digits.
    """

    def on_test_begin(self, logs=None):
        self.own = [keras.ops.convert_to_numpy(v) for v in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        for variable in self.model.trainable_variables:  # a copy, since JAX donates shared arrays
            variable.assign(np.array(keras.ops.convert_to_numpy(variable)))

    def on_test_end(self, logs=None):
        for variable, value in zip(self.model.trainable_variables, self.own, strict=True):
            variable.assign(value)
        del self.own


class SpeedMonitor(keras.callbacks.Callback):
    """Measures the duration of steps.

    Attributes:
        seconds: of each step after warm-up, input included.
        training: seconds spent in all steps.
    """

    def __init__(self, batch_size: int):
        super().__init__()
        self.batch_size = batch_size
        self.seconds: list[float] = []
        self.training = 0.0
        self.steps = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        took = time.perf_counter() - self.began
        self.steps += 1
        self.training += took
        if self.steps > WARM_UP:
            self.seconds.append(took)

    def images_per_second(self) -> float:
        """Batch size over the median step; of a run too short for that, over the mean step."""
        step = statistics.median(self.seconds) if self.seconds else self.training / max(self.steps, 1)
        return self.batch_size / step if step else 0.0

    def data_wait(self, model: StepModel) -> float:
        """Share of the training time that was spent waiting for input."""
        return min(1.0, model.data_wait_seconds / self.training) if self.training else 0.0


class ProgressLogger(keras.callbacks.Callback):
    """Progress bar, `history.csv` and TensorBoard scalars. Its state is how long an interrupted epoch took so far.

    Args:
        shown: logs that the bar shows within an epoch.
    """

    def __init__(
        self,
        bar: Bar,
        history: History,
        board: Board,
        speed: SpeedMonitor,
        progress: ProgressCounter,
        shown: tuple[str, ...],
    ):
        super().__init__()
        self.bar, self.history, self.board, self.speed, self.progress = bar, history, board, speed, progress
        self.shown, self.spent = shown, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.perf_counter() - self.spent
        self.spent = 0.0
        self.bar.start(epoch + 1)

    def on_train_batch_end(self, batch, logs=None):
        speed = self.speed.images_per_second()
        rate = backend.learning_rate(self.model)
        measures = {name: float(logs[name]) for name in self.shown if name in logs}
        self.bar.update(self.progress.place.step, rate, speed, **measures)

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.began
        step = steps_done(self.model)
        measures = {k: float(logs[k]) for k in self.history.columns if k in logs}
        pace = {"rate": self._rate(), "images_per_second": self.speed.images_per_second()}
        self.history.append({"epoch": epoch + 1, "step": step, **measures, **pace, "seconds": seconds})
        train = {k: v for k, v in measures.items() if not k.startswith("val_")}
        self.board.scalars(step, {**train, **pace}, "train")
        self.board.scalars(step, {k[4:]: v for k, v in measures.items() if k.startswith("val_")}, "val")
        self.bar.end(**measures, **pace, seconds=seconds)
        self.began = None

    @property
    def state(self) -> dict:
        """Seconds of the epoch under way; 0 between two."""
        return {"spent": time.perf_counter() - self.began if self.began else 0.0}

    def restore(self, state: dict) -> None:
        """Restores the state of an interrupted run."""
        self.spent = float(state["spent"])

    def _rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


class Patience(keras.callbacks.Callback):
    """Base of callbacks that count epochs without a new best `monitor`; epochs without it do not count."""

    def __init__(self, monitor: str):
        super().__init__()
        self.monitor = monitor
        self.state = {"best": -1.0, "waited": 0}

    def on_epoch_end(self, epoch, logs=None):
        if self.monitor not in logs:
            return
        if logs[self.monitor] > self.state["best"]:
            self.state |= {"best": float(logs[self.monitor]), "waited": 0}
        else:
            self.wait(epoch)

    def wait(self, epoch: int) -> None:
        """Called after an epoch without a new best."""
        self.state = self.state | {"waited": self.state["waited"] + 1}

    def restore(self, state: dict) -> None:
        """Restores the state of an interrupted run."""
        self.state = dict(state)


class ReduceLROnPlateau(Patience):
    """Lowers the learning rate when `monitor` stops improving (`schedules.Plateau`)."""

    def __init__(self, plateau: Plateau, rate: Rate, monitor: str):
        super().__init__(monitor)
        self.plateau, self.rate = plateau, rate
        self.state |= {"lowered": 0}

    def wait(self, epoch):
        super().wait(epoch)
        lowered = self.state["lowered"]
        if self.state["waited"] >= self.plateau.patience and lowered < self.plateau.times:
            self.restore(self.state | {"waited": 0, "lowered": lowered + 1})

    def restore(self, state):
        super().restore(state)
        self.rate.plateau_factor.assign(self.plateau.by ** state["lowered"])


class EarlyStopping(Patience):
    """Ends the run when `monitor` has not risen for `patience` epochs; the first `spared` do not count."""

    def __init__(self, patience: int, say: Callable[[str], None], monitor: str, spared: int = 0):
        super().__init__(monitor)
        self.patience, self.say, self.spared = patience, say, spared

    @property
    def stopped(self) -> bool:
        """Whether the run is over."""
        return self.state["waited"] >= self.patience

    def wait(self, epoch):
        if epoch < self.spared:
            return
        super().wait(epoch)
        if self.stopped:
            self.model.stop_training = True
            self.say(f"stopped early: {self.monitor} has not risen for {self.patience} epochs")


class BestCheckpoint(keras.callbacks.Callback):
    """Saves the weights of the epoch with the highest `monitor`; of equals, that with the lowest validation loss.

    Where images are few, many epochs have the same top-1, and the first of them often has a large loss.
    """

    def __init__(self, folder: Path, run: str, progress: ProgressCounter, monitor: str):
        super().__init__()
        self.folder, self.run, self.progress, self.monitor = folder, run, progress, monitor
        self.state = {"best": -1.0, "loss": 0.0, "epoch": 0}

    def on_epoch_end(self, epoch, logs=None):
        if self.monitor not in logs:
            return
        value, loss = float(logs[self.monitor]), float(logs.get("val_loss", 0.0))
        if (value, -loss) > (self.state["best"], -self.state["loss"]):
            self.state = {"best": value, "loss": loss, "epoch": epoch + 1}
            checkpoints.save(self.folder, checkpoints.BEST, self.progress.finished(), self.model, {}, self.run)

    def restore(self, state: dict) -> None:
        """Restores the state of an interrupted run."""
        self.state |= state
