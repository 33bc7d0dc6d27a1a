"""One training run, from a config and a data set to a finished run folder."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from keras_cnns import measure
from keras_cnns.deep import deep_recursion
from keras_cnns.weights.loading import given
from training.data import folder, pipeline
from training.data.dataset import DataSet
from training.door import Failure
from training.engine import checkpoints, scoring
from training.engine.callbacks import Best, Clock, Narrator, PlateauWatch, Saver, Watch
from training.engine.compute import Compute
from training.engine.config import Config
from training.engine.outcome import conclude
from training.engine.setup import SPLITS, Run
from training.engine.step import SoftCrossEntropy, StepModel, steps_done, synchronise
from training.report import pictures
from training.report.folder import History
from training.report.progress import Bar, duration
from training.report.stream import told
from training.report.tensorboard import Board
from training.schedules import Plateau, Rate

SHOWN = 32  # images in batch.png


def train(run: Run) -> dict:
    """Trains, or goes on training, and fills the run folder; returns what `result.json` holds.

    Raises:
        Failure: the loss is not finite.
    """
    config, log = run.config, run.log
    seed, steps = config.seed, pipeline.steps_per_epoch(len(run.data.train), config.recipe.batch_size)
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(run.compute.policy)
    with run.compute.scope(), deep_recursion():
        plain, logits = config.build_for_training()
        if config.weights:
            with told(log):
                given(config.weights, config.architecture.name).load(plain)
        model, rate = compiled(plain, logits, config, steps, run.compute)
    sizes = measure(plain)
    log(f"network: {sizes.trainable_params:,} parameters, {sizes.macs:,} MACs at {config.image_size} pixels")
    found = checkpoints.latest(run.folder / "checkpoints", log)
    first_epoch = found.epoch if found else 0
    history = History(run.folder / "history.csv")
    history.truncate(first_epoch)
    watchers = _stateful(run, rate)
    if found:
        found.restore(model)
        for name, state in found.states.items():
            watchers[name].restore(state)
        log(f"continuing after epoch {first_epoch} of {config.recipe.epochs}")
    clock = Clock(config.recipe.batch_size)
    done = steps_done(model)
    with Board(run.folder / "tensorboard", purge_step=done if found else None, warn=log) as board:
        _show_batch(run, board)
        if first_epoch < config.recipe.epochs:
            _announce(run, plain, steps, first_epoch)
            bar = Bar(config.recipe.epochs, steps, sys.stdout, say=log)
            narrator = Narrator(bar, history, board, clock)
            saver = Saver(run.folder / "checkpoints", watchers)
            with unreadable_images(run.data):
                model.fit(
                    run.training(first_epoch),
                    epochs=config.recipe.epochs,
                    initial_epoch=first_epoch,
                    steps_per_epoch=steps,
                    validation_data=run.evaluation(run.data.val),
                    verbose=0,
                    shuffle=False,  # the stream has its own order
                    callbacks=[Watch(), clock, narrator, *watchers.values(), saver],
                )
        # Keras does this at the end of `fit`; a run that was interrupted after its last epoch comes here without.
        model.optimizer.finalize_variable_values(model.trainable_variables)
        if config.recipe.keep == "best":
            checkpoints.read(run.folder / "checkpoints" / "best").restore(model)
        synchronise(model)
        return conclude(run, plain, model, clock, history, board)


@contextmanager
def unreadable_images(data: DataSet) -> Iterator[None]:
    """Names the files when reading fails because images broke or vanished after they were indexed."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        bad = [b for split in SPLITS for b in folder.unreadable(getattr(data, split))]
        if not bad:
            raise
        path, reason = bad[0]
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise Failure(f"{path} can no longer be read ({reason}){more}: mend or remove it, then repeat") from error


def compiled(plain, logits: list[tuple], config: Config, steps: int, compute: Compute) -> tuple[StepModel, Rate]:
    """The step model that trains `plain` on pairs (logits, share), and the rate that a callback may brake."""
    recipe = config.recipe
    rate = Rate(recipe.optimizer.rate, recipe.schedule, recipe.warm_up, recipe.epochs, steps)
    outputs, shares = zip(*logits, strict=True)
    model = StepModel(plain.inputs, list(outputs), recipe.decay, recipe.undecayed, shares)
    loss = SoftCrossEntropy() if recipe.soft else config.architecture.head.loss()
    model.compile(recipe.optimizer.build(rate, recipe.average), loss, jit_compile=compute.xla)
    return model, rate


def _stateful(run: Run, rate: Rate) -> dict[str, keras.callbacks.Callback]:
    recipe = run.config.recipe
    watchers = {}
    if isinstance(recipe.schedule, Plateau):
        watchers["plateau"] = PlateauWatch(recipe.schedule, rate)
    if recipe.keep == "best":
        watchers["best"] = Best(run.folder / "checkpoints")
    return watchers


def _announce(run: Run, plain: keras.Model, steps: int, first_epoch: int) -> None:
    """Says how long the run will take, from one forward pass timed before the first step."""
    images = next(iter(run.evaluation(run.data.val)))[0]
    with deep_recursion():
        forward = scoring.forward(plain)
        began = time.perf_counter()
        forward(images)
        tracing = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(3):
        forward(images)
    image = (time.perf_counter() - began) / 3 / len(images)
    epochs = run.config.recipe.epochs - first_epoch
    trained = epochs * steps * run.config.recipe.batch_size
    if run.compute.kind == "GPU":
        trained /= run.compute.replicas
    seen = epochs * len(run.data.val) + sum(len(getattr(run.data, s)) for s in SPLITS)
    seconds = 6 * tracing + image * (3 * trained + seen)
    run.log(f"expected duration: about {duration(seconds)} ({epochs} epochs of {steps} steps)")


def _show_batch(run: Run, board: Board) -> None:
    """Draws what the network is really fed."""
    images, labels = next(iter(run.training()))
    figure = pictures.image_grid(
        np.asarray(images)[:SHOWN],
        np.asarray(labels)[:SHOWN],
        run.config.classes,
        f"{run.config.architecture.name} on {run.data.name}: the first training batch",
    )
    pictures.save(figure, run.folder / "batch.png")
    board.picture("augmented batch", figure, 0)
