"""One training run of a detector, from a config and scenes to a finished run folder.

The loop, the checkpoints and the callbacks are those of `training.engine`; this says what is trained and measured.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_cnns.deep import deep_recursion
from keras_cnns.detection import LOSSES
from keras_cnns.detection.network import Built
from keras_cnns.detection.weights import load
from training.detection import pipeline, scoring
from training.detection.boxed import Scenes
from training.detection.config import DetectionConfig
from training.detection.ending import conclude
from training.detection.step import DetectionStep
from training.door import arguments
from training.engine import checkpoints
from training.engine.callbacks import Clock, Narrator, Watch
from training.engine.checkpoints import START
from training.engine.compute import Compute
from training.engine.config import digest
from training.engine.run import check_space, unreadable_images
from training.engine.saving import Counter, Every, Saver
from training.engine.step import synchronise
from training.engine.stretch import stretch
from training.interrupts import deferred
from training.report.folder import History, Log
from training.report.progress import Bar
from training.report.stream import told
from training.report.tensorboard import Board
from training.schedules import Rate

COLUMNS = ("epoch", "step", "loss", *LOSSES, "val_ap50", "val_ap", "rate", "images_per_second", "seconds")


@dataclass(frozen=True)
class DetectionRun:
    """What a run is made of, handed around together."""

    config: DetectionConfig
    data: Scenes
    compute: Compute
    folder: Path
    log: Log
    every: Every = Every()

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return pipeline.steps_per_epoch(self.data.train, self.config.recipe.batch_size)

    def training(self, epoch: int, step: int):
        """The training stream from an epoch, and in it from a step, on."""
        c = self.config
        return pipeline.train_batches(
            self.data.train,
            fit=c.recipe.fit,
            batch=c.recipe.batch_size,
            seed=c.seed,
            epochs=c.recipe.epochs,
            first_epoch=epoch,
            first_step=step,
            mirror=self.data.mirror,
            preprocess=c.detector.backbone.preprocessing,
        )

    def measured(self, model, split: str) -> dict:
        """The figures of a split."""
        c = self.config
        part, preprocess = getattr(self.data, split), c.detector.backbone.preprocessing
        return scoring.measure(model, part, c.recipe.fit, preprocess, len(c.classes))


class Measured(keras.callbacks.Callback):
    """Measures the validation split at the end of some epochs, and of the last; comes before who tells of it."""

    def __init__(self, run: DetectionRun, model: keras.Model):
        super().__init__()
        self.run, self.forward = run, scoring.forward(model)

    def on_epoch_end(self, epoch, logs=None):
        recipe = self.run.config.recipe
        if (epoch + 1) % recipe.measure_every and epoch + 1 != recipe.epochs:
            return
        synchronise(self.model)
        figures = self.run.measured(self.forward, "val")
        logs.update(val_ap50=figures["ap50"], val_ap=figures["ap"])


def train(run: DetectionRun) -> dict:
    """Trains, or goes on training, and fills the run folder; returns what `result.json` holds.

    Raises:
        Failure: the loss is not finite, the disk is full, or images have become unreadable.
        Refusal: the folder's checkpoints are of another version or another run.
    """
    config, log, recipe = run.config, run.log, run.config.recipe
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(run.compute.policy)
    with run.compute.scope(), deep_recursion():
        built = config.build()
        if config.weights:
            with told(log), arguments():
                load(built.inference, config.detector, config.weights)
        rate = Rate(recipe.optimizer.rate, recipe.schedule, recipe.warm_up, recipe.epochs, run.steps)
        model = compiled(built, config, rate, run.compute)
        model.optimizer.build(model.trainable_variables)
    count = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    log(f"network: {count:,} trainable parameters, {recipe.epochs} epochs of {run.steps} steps")
    check_space(run.folder, model, 1)
    with arguments():  # a checkpoint of another version or another run is refused
        found = _latest(run)
    clock, history = Clock(recipe.batch_size), History(run.folder / "history.csv", COLUMNS)
    purge = found.place.number if found else None
    with Board(run.folder / "tensorboard", purge_step=purge, warn=log) as board:
        if found:
            log(f"continuing after epoch {found.place.epoch} of {recipe.epochs} and {found.place.step} steps")
        bar = Bar(recipe.epochs, run.steps, sys.stdout, say=log)
        with deferred() as pending, unreadable_images(run.data):
            while _go_on(run, model, built.inference, found, (bar, history, board, clock), pending):
                found = _latest(run)
        synchronise(model)
        return conclude(run, built.inference, model, clock, history, board)


def compiled(built: Built, config: DetectionConfig, rate: Rate, compute: Compute) -> DetectionStep:
    """The model that trains."""
    recipe, learner = config.recipe, built.learner
    how = {"decay": recipe.decay, "undecayed": recipe.undecayed, "clip": recipe.clip}
    model = DetectionStep(learner.inputs, learner.outputs, **how)
    model.compile(recipe.optimizer.build(rate), None, xla=compute.xla)
    return model


def _latest(run: DetectionRun):
    return checkpoints.latest(run.folder / "checkpoints", checkpoints.STEP, digest(run.config), run.log)


def _go_on(run, model, inference, found, report, pending) -> bool:
    """Trains from a checkpoint, or the start, to the end of a broken epoch or of the run: is more to come?"""
    recipe, (bar, history, board, clock) = run.config.recipe, report
    place, sums = (found.place, found.restore(model)) if found else (START, {})
    history.truncate(place.epoch)
    counter = Counter(place, sums, run.steps)
    narrator = Narrator(bar, history, board, clock, counter)
    if found:
        narrator.restore(found.states["narrator"])
    if place.epoch == recipe.epochs:
        return False
    saver = Saver(
        run.folder / "checkpoints", digest(run.config), run.every, counter, {"narrator": narrator}, pending
    )
    watch = Watch(counter, lambda epoch, step: run.log(f"images of the batch: {_batch(run, epoch, step)}"))
    callbacks = [counter, watch, clock, Measured(run, inference), narrator, saver]
    return stretch(
        model, place, run.steps, recipe.epochs, lambda: run.training(place.epoch, place.step), callbacks
    )


def _batch(run: DetectionRun, epoch: int, step: int) -> str:
    rows = pipeline.training_plan(run.data.train, run.config.recipe.batch_size, run.config.seed, epoch)
    return ", ".join(str(run.data.train.ids[i]) for i in rows[step])
