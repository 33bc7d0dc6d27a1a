"""Learning-rate finder: some steps at rates from very small to much too large (Smith 2015, section 3.3)."""

import csv
import io
import math
from dataclasses import replace

import keras
import numpy as np

from training.errors import RunError
from training.recipes.schedules import Sweep
from training.report import canvas, pictures
from training.report.folder import write_text
from training.trainer.task import Task
from training.trainer.trainer import build

PICTURE, TABLE, LOG = "rates.png", "rates.csv", "rates.txt"
STEPS = 120
LOW, HIGH = 1e-5, 10.0
WIDTH = 3.0  # steps: standard deviation of the Gaussian that smooths the loss
CAUTION = 3.0  # times below the rate of the least loss, at least (Smith: a third to a quarter of the largest)
DIVERGED = 4.0  # times the least loss, and above the first: the sweep ends
FALL = 0.1  # of the first loss: less is noise
SKIP = 10  # steps of a moving mean


class LRFinderCallback(keras.callbacks.Callback):
    """Records rate and loss of every step; ends the sweep when the loss diverges."""

    def __init__(self):
        super().__init__()
        self.rates, self.losses = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()  # so that the logs are of one batch
        self.rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_train_batch_end(self, batch, logs=None):
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            self.model.stop_training = True
            return
        self.rates.append(self.rate)
        self.losses.append(loss)
        means = np.convolve(self.losses, np.ones(SKIP) / SKIP, "valid") if len(self.losses) > SKIP else [loss]
        if means[-1] > max(means[0], DIVERGED * min(means)):
            self.model.stop_training = True


def smoothed(losses: list[float]) -> np.ndarray:
    """Gaussian-weighted means over neighbours; as many as losses."""
    place = np.arange(len(losses))
    weights = np.exp(-0.5 * ((place[:, None] - place) / WIDTH) ** 2)
    return weights @ np.asarray(losses) / weights.sum(axis=1)


def suggest(rates: list[float], smooth) -> float:
    """The rate at which the smoothed loss falls fastest for a relative step of the rate, or a more cautious one.

    >>> rates = [10 ** (k / 20 - 4) for k in range(80)]
    >>> smooth = [2.3 - 1.0 / (1 + math.exp(-(k - 40) / 4)) + max(0, k - 60) ** 2 for k in range(80)]
    >>> 0.008 < suggest(rates, smooth) < 0.012
    True
    """
    smooth = np.asarray(smooth)
    slope = np.gradient(smooth, np.log(rates))
    least = _valley(smooth)  # behind it the loss jumps
    steepest = int(np.argmin(slope[: max(least, 1)]))
    return float(min(rates[steepest], rates[least] / CAUTION))


def _valley(smooth: np.ndarray) -> int:
    """Where the loss is least before it first rises again by half of what it had fallen."""
    least = 0
    for place, loss in enumerate(smooth):
        fallen = smooth[0] - smooth[least]
        if loss < smooth[least]:
            least = place
        elif fallen > FALL * smooth[0] and loss - smooth[least] > fallen / 2:
            break
    return least


def find_learning_rate(task: Task) -> float:
    """Draws `rates.png`, writes `rates.csv`, returns the suggested rate. Nothing of the network is kept.

    Raises:
        RunError: the loss is not finite from the first steps on.
    """
    epochs = math.ceil(STEPS / task.steps)
    steps = epochs * task.steps
    recipe = task.config.recipe.swept(Sweep(LOW, HIGH), epochs)
    task = replace(task, config=replace(task.config, recipe=recipe))
    model = build(task).model
    task.log(f"trying {steps} rates from {LOW:g} to {HIGH:g}, one a step")
    recorder = LRFinderCallback()
    how = {"epochs": epochs, "steps_per_epoch": task.steps, "verbose": 0, "shuffle": False}
    model.fit(task.train_batches(), callbacks=[recorder], **how)
    if len(recorder.losses) <= SKIP:
        raise RunError(f"the loss is not finite after {len(recorder.losses)} steps of rates from {LOW:g} on")
    smooth = smoothed(recorder.losses)
    rate = suggest(recorder.rates, smooth)
    table = io.StringIO()
    rows = zip(recorder.rates, recorder.losses, smooth.tolist(), strict=True)
    csv.writer(table, lineterminator="\n").writerows([("rate", "loss", "smoothed"), *rows])
    write_text(task.folder / TABLE, table.getvalue())
    title = f"{task.config.label} on {task.data.name}: loss at rising rates"
    canvas.save(pictures.rate_sweep(recorder.rates, recorder.losses, smooth, rate, title), task.folder / PICTURE)
    return rate
