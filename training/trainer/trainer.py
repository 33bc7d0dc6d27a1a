"""One training run, from a config and a data set to a finished run folder."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from keras_cnns import measure
from keras_cnns.deep import deep_recursion
from keras_cnns.weights.loading import given
from training.algorithms import fine_tuning, resrep
from training.classification import evaluation
from training.classification.config import Config, start_of
from training.classification.task import SPLITS, Run
from training.data import folder, pipeline
from training.data.dataset import DataSet
from training.engine.backends import backend
from training.engine.devices import Compute
from training.engine.step import SoftCrossEntropy, sync_batch_norm
from training.errors import DiskFull, RunError, usage_errors
from training.processes import Pending, deferred
from training.recipes.schedules import Plateau, Rate
from training.report import canvas, pictures
from training.report.folder import History
from training.report.progress import Bar, duration
from training.report.stream import told
from training.report.tensorboard import Board
from training.run_folder import checkpoints, tensors
from training.run_folder.checkpoints import START, Checkpoint, Position
from training.run_folder.config import digest
from training.trainer.callbacks import (
    BestCheckpoint,
    EarlyStopping,
    NaNMonitor,
    ProgressLogger,
    ReduceLROnPlateau,
    SpeedMonitor,
    SwapEMAWeights,
)
from training.trainer.checkpoint_saver import CheckpointSaver, ProgressCounter
from training.trainer.finish import finish, throughput
from training.trainer.oom import suggest_batch_size
from training.trainer.signal_sync import SignalSync

SHOWN = 32  # images in batch.png


def train(run: Run) -> dict:
    """Trains, or goes on training, and fills the run folder; returns what `result.json` holds.

    Raises:
        Diverged: the loss or a weight is not finite.
        Failure: the disk is full, or too many images have become unreadable.
        Refusal: the folder's checkpoints are of another version or another run.
    """
    config, log = run.config, run.log
    seed, steps = config.seed, pipeline.steps_per_epoch(len(run.data.train), config.recipe.batch_size)
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(run.compute.policy)
    with run.compute.scope(), deep_recursion():
        plain, logits = build_from_start(run)
        sizes = measure(plain, config.input_shape)
        model, rate = compiled(plain, logits, config, steps, run.compute)
        model.optimizer.build(model.trainable_variables)
    if run.compute.norms == "synchronised" and run.compute.replicas > 1:
        _normalise(model, True)
    if model.xla:
        each = config.recipe.batch_size // run.compute.replicas // config.recipe.accumulate
        log(backend.check_xla(model, *(column[:each] for column in run.first_batch)))
        if run.compute.wire and run.compute.wire.total([not model.xla])[0]:
            model.xla = False  # on all workers or on none
            model.make_functions()
    log(f"network: {sizes.trainable_params:,} parameters, {sizes.macs:,} MACs at {config.image_size} pixels")
    check_space(run.folder, model, 2 if config.recipe.keep == "best" else 1)
    identity = digest(config)
    with usage_errors():  # a checkpoint of another version or another run is refused
        found = checkpoints.latest(run.folder / "checkpoints", checkpoints.STEP, identity, log)
    clock = SpeedMonitor(config.recipe.batch_size)
    history = History(run.folder / "history.csv")
    place = found.place if found else START
    with Board(run.folder / "tensorboard", purge_step=place.number if found else None, warn=log) as board:
        _show_batch(run, board)
        bar = Bar(config.recipe.epochs, steps, sys.stdout, say=log)
        if found:
            where = f" and {place.step} of {steps} steps" if place.step else ""
            log(f"continuing after epoch {place.epoch} of {config.recipe.epochs}{where}")
        if place.epoch < config.recipe.epochs and run.compute.group.alone:
            _announce(run, plain, steps, place.epoch)
        room = suggest_batch_size(model, config.recipe.batch_size, run.compute.replicas)
        with deferred() as pending, unreadable_images(run.data), room, run.compute.peers():
            while fit_segment_(run, model, rate, found, (bar, history, board, clock), pending):
                # The rest of a broken epoch is a `fit` of its own; all goes on from the checkpoint it leaves.
                found = checkpoints.latest(run.folder / "checkpoints", checkpoints.STEP, identity, log)
        if config.recipe.keep == "best":
            best = checkpoints.latest(run.folder / "checkpoints", checkpoints.BEST, identity, log)
            if best is None:
                raise RunError(f"no checkpoint of the best epoch is left whole in {run.folder / 'checkpoints'}")
            best.restore(model)
        # Keras does this at the end of `fit`; a run that was interrupted after its last epoch comes here without.
        model.optimizer.finalize_variable_values(model.trainable_variables)
        sync_batch_norm(model)
        _normalise(model, False)
        fine_tuning.unfreeze_norms(plain)
        plain = _kept(run, plain)
        return finish(run, plain, throughput(model, clock, history), history, board)


def _normalise(model: keras.Model, synchronized: bool) -> None:
    """Says whether batch norm takes its statistics over all replicas; a saved model must not."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = synchronized


def _kept(run: Run, plain: keras.Model) -> keras.Model:
    """The network to save: of the size it is tested at, and without a strategy of several workers.

    Reading a statistic of several workers takes all of them, every time.
    """
    if run.compute.group.alone and not run.config.recipe.growing:
        return plain
    with deep_recursion():
        copy = run.config.build()
    copy.set_weights([keras.ops.convert_to_numpy(v) for v in plain.weights])
    return copy


def fit_segment_(
    run: Run, model: keras.Model, rate: Rate, found: Checkpoint | None, report: tuple, pending: Pending
) -> bool:
    """Trains from a checkpoint, or the start, to the end of a broken epoch or of the run: is more to come?"""
    config, recipe, (bar, history, board, clock) = run.config, run.config.recipe, report
    steps = pipeline.steps_per_epoch(len(run.data.train), recipe.batch_size)
    place, sums = (found.place, found.restore(model)) if found else (START, {})
    history.truncate(place.epoch)
    counter = ProgressCounter(place, sums, steps)
    narrator = ProgressLogger(bar, history, board, clock, counter)
    stateful = {"narrator": narrator, **_stateful(run, rate, counter)}
    if found:
        for name, callback in stateful.items():
            callback.restore(found.states[name])
    if place.epoch == recipe.epochs or any(getattr(c, "stopped", False) for c in stateful.values()):
        return False
    watch = NaNMonitor(counter, lambda epoch, step: run.log(f"images of the batch: {_batch(run, epoch, step)}"))
    together = []
    if run.compute.wire:
        own, pending = pending, Pending()
        together.append(SignalSync(run.compute.wire, own, pending))
    saver = CheckpointSaver(run.folder / "checkpoints", digest(config), run.every, counter, stateful, pending)
    first = recipe.tuning and fine_tuning.GradualUnfreezing(recipe.tuning.head_epochs, recipe.tuning.by, run.log)
    callbacks = [
        counter,
        *([first] if first else []),
        *([resrep.ResRepMasks(config, steps, counter, run.log)] if recipe.forgetting else []),
        watch,
        clock,
        *together,
        *([SwapEMAWeights()] if recipe.average else []),
        *stateful.values(),
        saver,
    ]
    validation = backend.validation_data(run.compute, run.evaluation(run.data.val), run.evaluation_batch)

    def batches():
        return backend.training_data(run.compute, run.training(place.epoch, place.step), recipe.batch_size, model)

    return fit_segment(model, place, steps, recipe.epochs, batches, callbacks, validation)


def _batch(run: Run, epoch: int, step: int) -> str:
    recipe = run.config.recipe
    indices = run.reader.batch_indices(
        len(run.data.train), recipe.batch_size, run.config.seed, epoch, step, recipe.repeats
    )
    return ", ".join(run.data.train.images.name(i) for i in indices)


def check_space(folder: Path, model: keras.Model, kinds: int) -> None:
    """Raises DiskFull before the first step where the disk cannot hold a run's checkpoints of so many kinds."""
    need = (kinds * checkpoints.KEEP + 1) * tensors.size(model)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise DiskFull(f"{folder}: the checkpoints need {need / 2**20:,.0f} MiB, {free / 2**20:,.0f} are free")


@contextmanager
def unreadable_images(data: DataSet) -> Iterator[None]:
    """Names the files when reading fails because images broke or vanished after they were indexed."""
    try:
        yield
    except backend.read_errors as error:
        bad = [b for split in SPLITS for b in folder.unreadable(getattr(data, split))]
        if not bad:
            raise
        path, reason = bad[0]
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise RunError(f"{path} can no longer be read ({reason}){more}: mend or remove it, then repeat") from error


def build_from_start(run: Run) -> tuple[keras.Model, list[tuple]]:
    """The network with the weights that training starts from, and its logits as of `Config.build_for_training`."""
    plain, logits = run.config.build_for_training()
    if start := start_of(run.config, run.folder):
        with told(run.log):
            given(start, run.config.architecture.name).load(plain)
    if run.config.recipe.tuning:
        fine_tuning.zero_classifier(keras.Model(plain.inputs, [output for output, _ in logits]))
    return plain, logits


def compiled(plain, logits: list[tuple], config: Config, steps: int, compute: Compute) -> tuple[keras.Model, Rate]:
    """The step model that trains `plain` on pairs (logits, share), and the rate that a callback may brake."""
    recipe = config.recipe
    if recipe.tuning:
        fine_tuning.freeze_norms(plain)
    rate = Rate(recipe.optimizer.rate, recipe.schedule, recipe.warm_up, recipe.epochs, steps)
    outputs, loss_weights = zip(*logits, strict=True)
    model = backend.build_model(plain.inputs, list(outputs), recipe, loss_weights, config.preprocessing)
    loss = SoftCrossEntropy() if recipe.soft else config.architecture.head.loss()
    optimizer = backend.optimizer(recipe, rate, model)
    if recipe.tuning:
        optimizer.lr_multipliers = fine_tuning.variable_lr_multipliers(model, recipe.tuning.by)
    if recipe.forgetting:
        model.gradient_hook = resrep.GradientReset(model, recipe.forgetting)
        optimizer.momenta = resrep.momenta(model, recipe)
    model.compile(optimizer, loss, xla=compute.xla)
    return model, rate


def _stateful(run: Run, rate: Rate, counter: ProgressCounter) -> dict[str, keras.callbacks.Callback]:
    recipe = run.config.recipe
    watchers = {}
    if isinstance(recipe.schedule, Plateau):
        watchers["plateau"] = ReduceLROnPlateau(recipe.schedule, rate)
    if recipe.keep == "best":
        watchers["best"] = BestCheckpoint(run.folder / "checkpoints", digest(run.config), counter)
    if recipe.patience:
        first = recipe.tuning.head_epochs if recipe.tuning else 0
        watchers["early_stop"] = EarlyStopping(recipe.patience, run.log, first)
    return watchers


def _announce(run: Run, plain: keras.Model, steps: int, first_epoch: int) -> None:
    """Says how long the run will take, from one forward pass timed before the first step."""
    images = run.config.preprocessing(np.asarray(next(iter(run.evaluation(run.data.val)))[0]))
    with deep_recursion():
        forward = evaluation.forward(plain)
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
    if not canvas.CAN:
        run.log("no pictures: matplotlib is not installed")
        return
    images, labels = (column[:SHOWN] for column in run.first_batch)
    figure = pictures.image_grid(
        run.config.preprocessing(images),
        labels,
        run.config.classes,
        f"{run.config.architecture.name} on {run.data.name}: the first training batch",
    )
    canvas.save(figure, run.folder / "batch.png")
    board.picture("augmented batch", figure, 0)


def fit_segment(
    model: keras.Model,
    place: Position,
    steps: int,
    epochs: int,
    batches: Callable[[], object],
    callbacks: list,
    validation=None,
) -> bool:
    """Trains from a place, from which `batches` makes the stream: is more to come?

    The rest of a broken epoch is a `fit` of its own; all goes on from the checkpoint it leaves.

    Args:
        steps: of an epoch.
        validation: batches, or None.
    """
    if place.step == steps:
        close_epoch(model, place.epoch, callbacks, validation)
    else:
        model.fit(
            batches(),
            epochs=place.epoch + 1 if place.step else epochs,
            initial_epoch=place.epoch,
            steps_per_epoch=steps - place.step,
            validation_data=validation,
            verbose=0,
            shuffle=False,  # the stream has its own order
            callbacks=callbacks,
        )
    return place.step > 0


def close_epoch(model: keras.Model, epoch: int, callbacks: list, validation) -> None:
    """What `fit` does after an epoch's last step, for a run that was interrupted right there."""
    calls = keras.callbacks.CallbackList(callbacks, model=model)
    calls.on_train_begin()
    calls.on_epoch_begin(epoch)
    logs = {name: float(value) for name, value in model.get_metrics_result().items()}
    measured = {}
    if validation is not None:
        measured = model.evaluate(validation, verbose=0, return_dict=True, callbacks=calls)
    calls.on_epoch_end(epoch, logs | {f"val_{name}": value for name, value in measured.items()})
    calls.on_train_end()
