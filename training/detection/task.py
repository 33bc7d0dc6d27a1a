"""One training run of a detector, from a config and scenes to a finished run folder.

The loop, the checkpoints and the callbacks are those of `training.engine`; this says what is trained and measured.
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from keras_cnns.deep import deep_recursion
from keras_cnns.detection import LOSSES
from keras_cnns.detection.network import Built
from keras_cnns.detection.weights import load
from training.detection import pipeline, plots, scoring
from training.detection.config import DetectionConfig
from training.detection.dataset import DetectionData
from training.engine.devices import Compute
from training.engine.step import StepModel, steps_done, sync_batch_norm
from training.errors import usage_errors
from training.processes import deferred
from training.recipes.schedules import Rate
from training.report import canvas
from training.report.folder import History, Log, replace_when_complete, write_json, write_text
from training.report.progress import Bar
from training.report.stream import told
from training.report.tensorboard import Board
from training.run_folder import checkpoints
from training.run_folder.checkpoints import START, weights_sha256
from training.run_folder.config import digest
from training.trainer.callbacks import NaNMonitor, ProgressLogger, SpeedMonitor
from training.trainer.checkpoint_saver import CheckpointSaver, ProgressCounter, SaveInterval
from training.trainer.trainer import check_space, fit_segment, unreadable_images

COLUMNS = ("epoch", "step", "loss", *LOSSES, "val_ap50", "val_ap", "rate", "images_per_second", "seconds")


class DetectionStep(StepModel):
    """A detector's learner with this project's training step; its outputs are the losses, (n, 4).

    Decay, clipping, replicas and restarts are those of `StepModel`. Images are (images, boxes, labels, extent).
    """

    def __init__(self, inputs, outputs, **options):
        super().__init__(inputs, outputs, **options)
        self.each_loss = [keras.metrics.Mean(name) for name in LOSSES]

    @property
    def metrics(self):
        return [self.mean_loss, *self.each_loss]

    def _on_every_replica(self, step):
        """As there, but a graph for each of the two shapes of a batch: one for both would know no sizes."""
        import tensorflow as tf

        strategy = self.distribute_strategy
        step = tf.autograph.experimental.do_not_convert(step)
        return tf.function(lambda data: strategy.run(step, args=(data,)), autograph=False)

    def _each(self, labels, losses):
        return keras.ops.sum(losses, axis=-1)

    def _measure(self, losses, labels, outputs, weights, counted=None):
        self.mean_loss.update_state(losses)
        for i, metric in enumerate(self.each_loss):
            metric.update_state(outputs[:, i])


@dataclass(frozen=True)
class DetectionRun:
    """What a run is made of, handed around together."""

    config: DetectionConfig
    data: DetectionData
    compute: Compute
    folder: Path
    log: Log
    every: SaveInterval = SaveInterval()

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
        sync_batch_norm(self.model)
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
            with told(log), usage_errors():
                load(built.inference, config.detector, config.weights)
        rate = Rate(recipe.optimizer.rate, recipe.schedule, recipe.warm_up, recipe.epochs, run.steps)
        model = compiled(built, config, rate, run.compute)
        model.optimizer.build(model.trainable_variables)
    count = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    log(f"network: {count:,} trainable parameters, {recipe.epochs} epochs of {run.steps} steps")
    check_space(run.folder, model, 1)
    with usage_errors():  # a checkpoint of another version or another run is refused
        found = _latest(run)
    clock, history = SpeedMonitor(recipe.batch_size), History(run.folder / "history.csv", COLUMNS)
    purge = found.place.number if found else None
    with Board(run.folder / "tensorboard", purge_step=purge, warn=log) as board:
        if found:
            log(f"continuing after epoch {found.place.epoch} of {recipe.epochs} and {found.place.step} steps")
        bar = Bar(recipe.epochs, run.steps, sys.stdout, say=log)
        with deferred() as pending, unreadable_images(run.data):
            while _go_on(run, model, built.inference, found, (bar, history, board, clock), pending):
                found = _latest(run)
        sync_batch_norm(model)
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
    counter = ProgressCounter(place, sums, run.steps)
    narrator = ProgressLogger(bar, history, board, clock, counter)
    if found:
        narrator.restore(found.states["narrator"])
    if place.epoch == recipe.epochs:
        return False
    saver = CheckpointSaver(
        run.folder / "checkpoints", digest(run.config), run.every, counter, {"narrator": narrator}, pending
    )
    watch = NaNMonitor(counter, lambda epoch, step: run.log(f"images of the batch: {_batch(run, epoch, step)}"))
    callbacks = [counter, watch, clock, Measured(run, inference), narrator, saver]
    return fit_segment(
        model, place, run.steps, recipe.epochs, lambda: run.training(place.epoch, place.step), callbacks
    )


def _batch(run: DetectionRun, epoch: int, step: int) -> str:
    rows = pipeline.training_plan(run.data.train, run.config.recipe.batch_size, run.config.seed, epoch)
    return ", ".join(str(run.data.train.ids[i]) for i in rows[step])


SHOWN = 8  # test images in the picture


def conclude(run, inference, model, clock, history, board) -> dict:
    """Saves the model, measures val and test once, draws, writes `result.json`."""
    config, step = run.config, steps_done(model)
    with deep_recursion(), replace_when_complete(run.folder / "model.keras") as path:
        inference.save(path)
    write_text(run.folder / "labels.txt", "\n".join(config.classes) + "\n")
    forward, figures = scoring.forward(inference), {}
    for name in ("val", "test"):
        run.log(f"measuring the {name} split")
        figures[name] = run.measured(forward, name)
    result = {
        "arch": config.detector.name,
        "backbone": config.detector.backbone.name,
        "data": config.data,
        "recipe": config.recipe.name,
        "params": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        "epochs": config.recipe.epochs,
        "seed": config.seed,
        "replicas": run.compute.replicas,
        "precision": run.compute.precision,
        "xla": "on" if model.xla else "off",
        "images_per_second": clock.images_per_second() or _last(history, "images_per_second"),
        "data_wait": clock.data_wait(model),
        "seconds": sum(row["seconds"] for row in history.rows),
        **figures,
        "weights_sha256": weights_sha256(inference),
        "finished": True,
    }
    if canvas.CAN:
        _draw(run, forward, history, board, step)
    hyper = {
        k: result[k] for k in ("arch", "backbone", "data", "recipe", "epochs", "seed", "precision", "replicas")
    }
    hyper |= {"batch_size": config.recipe.batch_size, "optimizer": asdict(config.recipe.optimizer)}
    board.hparams(hyper, {f"{s}/{k}": figures[s][k] for s in figures for k in ("ap50", "ap")}, step)
    write_json(run.folder / "result.json", result)
    return result


def _draw(run, forward, history, board, step: int) -> None:
    config, fit = run.config, run.config.recipe.fit
    few = run.data.test.take(range(min(SHOWN, len(run.data.test))))
    found = scoring.detections(forward, few, fit, config.detector.backbone.preprocessing)
    title = f"{config.detector.name} on {run.data.name}"
    drawn = {"detections": plots.sheet([few.images[i] for i in range(len(few))], found, config.classes, title)}
    if history.rows:
        drawn["curves"] = plots.curves(history.rows, title)
    for name, figure in drawn.items():
        canvas.save(figure, run.folder / f"{name}.png")
        board.picture(name, figure, step)


def _last(history, column: str) -> float:
    return history.rows[-1][column] if history.rows else 0.0


def summary(result: dict, folder) -> str:
    """The last line of a run, for people and scripts."""
    test = result["test"]
    return (
        f"done: test AP50 {test['ap50']:.4f} (n={test['n']} images, {test['boxes']} boxes), VOC07 11-point "
        f"{test['ap50_voc07']:.4f}, COCO AP {test['ap']:.4f}, AP75 {test['ap75']:.4f}, "
        f"{result['images_per_second']:.0f} images/s, run {folder}"
    )
