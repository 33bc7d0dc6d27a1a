"""The training loop of every task: from a `Task` to a finished run folder."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras

from keras_cnns.deep import deep_recursion
from training.data import folder as image_folder
from training.engine.backends import backend
from training.engine.step import sync_batch_norm
from training.errors import DiskFull, RunError, usage_errors
from training.processes import Pending, deferred
from training.recipes.schedules import Plateau, Rate
from training.report import canvas
from training.report.folder import History
from training.report.progress import Bar, duration
from training.report.tensorboard import Board
from training.run_folder import checkpoints, tensors
from training.run_folder.checkpoints import START, Checkpoint
from training.run_folder.config import identity
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
from training.trainer.multi_worker import SignalSync
from training.trainer.oom import suggest_batch_size
from training.trainer.task import Task


@dataclass(frozen=True)
class Built:
    """What trains: the compiled model, the model that is saved and shares its weights, and the learning rate."""

    model: keras.Model
    saved: keras.Model
    rate: Rate


def build(task: Task) -> Built:
    """Builds and compiles a task's model, with the algorithms of its recipe."""
    recipe = task.config.recipe
    keras.utils.set_random_seed(task.config.seed)
    keras.config.set_dtype_policy(task.compute.policy)
    with task.compute.scope(), deep_recursion():
        model, saved = task.build()
        rate = Rate(recipe.optimizer.rate, recipe.schedule, recipe.warm_up, recipe.epochs, task.steps)
        optimizer = backend.optimizer(recipe, rate, model)
        for algorithm in recipe.algorithms:
            algorithm.attach(model, optimizer)
        model.compile(optimizer, task.loss(), xla=task.compute.xla)
        model.optimizer.build(model.trainable_variables)
    return Built(model, saved, rate)


def train(task: Task) -> dict:
    """Trains, or continues to train, and fills the run folder; returns what `result.json` holds.

    Raises:
        Diverged: the loss or a weight is not finite.
        RunError: the disk is full, memory is too small, or too many images have become unreadable.
        UsageError: the folder's checkpoints are of another version or another run.
    """
    return Trainer(task).run()


class Trainer:
    """One run of a task."""

    def __init__(self, task: Task):
        self.task, self.recipe, self.compute, self.log = task, task.config.recipe, task.compute, task.log
        self.folder, self.identity = task.folder / "checkpoints", identity(task.folder, task.config)

    def run(self) -> dict:
        """Trains to the end of the last epoch, then measures and saves."""
        task, log = self.task, self.log
        self.built = build(task)
        model = self.built.model
        if self.compute.norms == "synchronised" and self.compute.replicas > 1:
            set_synchronized_norms(model, True)
        if model.xla:
            self._check_xla()
        log(f"network: {task.describe(self.built.saved)}")
        check_space(task.folder, model, 2 if self.recipe.keep == "best" else 1)
        found = self._latest(checkpoints.STEP)
        self.history = History(task.folder / "history.csv", task.columns)
        self.speed = SpeedMonitor(self.recipe.batch_size)
        purge = found.place.number if found else None
        with Board(task.folder / "tensorboard", purge_step=purge, warn=log) as self.board:
            self._show_first_batch()
            self._announce(found)
            self.bar = Bar(self.recipe.epochs, task.steps, sys.stdout, say=log)
            advice = suggest_batch_size(task, model)
            with deferred() as pending, unreadable_images(task), advice, self.compute.peers():
                while self._fit_segment(found, pending):
                    found = self._latest(checkpoints.STEP)
            saved = self._finish_weights()
            return finish(task, saved, throughput(model, self.speed, self.history), self.history, self.board)

    def _check_xla(self) -> None:
        model, parts = self.built.model, self.compute.replicas * getattr(self.recipe, "accumulate", 1)
        self.log(backend.check_xla(model, *self.task.example(self.recipe.batch_size // parts)))
        if self.compute.communicator and self.compute.communicator.total([not model.xla])[0]:
            model.xla = False  # on all workers or on none
            model.make_functions()

    def _latest(self, kind: str) -> Checkpoint | None:
        with usage_errors():  # a checkpoint of another version or another run is refused
            return checkpoints.latest(self.folder, kind, self.identity, self.log)

    def _show_first_batch(self) -> None:
        if not canvas.CAN:
            self.log("no pictures: matplotlib is not installed")
        elif (figure := self.task.first_picture()) is not None:
            canvas.save(figure, self.task.folder / "batch.png")
            self.board.picture("augmented batch", figure, 0)

    def _announce(self, found: Checkpoint | None) -> None:
        """Logs where training continues and, from a forward pass timed now, how long it takes."""
        task, recipe, done = self.task, self.recipe, found.place.epoch if found else 0
        if found:
            where = f" and {found.place.step} of {task.steps} steps" if found.place.step else ""
            self.log(f"continuing after epoch {done} of {recipe.epochs}{where}")
        if done == recipe.epochs or not self.compute.group.alone:
            return
        images = task.sample()
        with deep_recursion():
            forward = task.forward(self.built.saved)
            began = time.perf_counter()
            forward(images)
            tracing = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(3):
            forward(images)
        image = (time.perf_counter() - began) / 3 / len(images)
        trained = (recipe.epochs - done) * task.steps * recipe.batch_size
        if self.compute.kind == "GPU":
            trained /= self.compute.replicas
        validations = sum(epoch > done for epoch in task.validation_epochs)
        seen = validations * len(task.data.val) + sum(len(getattr(task.data, s)) for s in task.splits)
        seconds = 6 * tracing + image * (3 * trained + seen)
        epochs = f"{recipe.epochs - done} epochs of {task.steps} steps"
        self.log(f"expected duration: about {duration(seconds)} ({epochs})")

    def _fit_segment(self, found: Checkpoint | None, pending: Pending) -> bool:
        """Trains one segment; returns True if another must follow.

        A segment starts at a checkpoint or at the beginning. It ends with the run, or with the epoch that an
        interruption had broken: the rest of a broken epoch is a `fit` of its own.
        """
        task, recipe, model = self.task, self.recipe, self.built.model
        place, sums = (found.place, found.restore(model)) if found else (START, {})
        self.history.truncate(place.epoch)
        progress = ProgressCounter(place, sums, task.steps)
        stateful = self._stateful(progress)
        if found:
            for name, callback in stateful.items():
                callback.restore(found.states[name])
        if place.epoch == recipe.epochs or any(getattr(c, "stopped", False) for c in stateful.values()):
            return False
        callbacks = self._callbacks(progress, stateful, pending)
        validation = task.validation()
        if place.step == task.steps:
            due = place.epoch + 1 in task.validation_epochs
            close_epoch(model, place.epoch, callbacks, validation if due else None)
            return True
        batches = task.train_batches(place.epoch, place.step)
        model.fit(
            backend.training_data(self.compute, batches, recipe.batch_size, model),
            epochs=place.epoch + 1 if place.step else recipe.epochs,
            initial_epoch=place.epoch,
            steps_per_epoch=task.steps - place.step,
            validation_data=validation,
            validation_freq=task.validation_epochs,
            verbose=0,
            shuffle=False,  # the stream has its own order
            callbacks=callbacks,
        )
        return place.step > 0

    def _stateful(self, progress: ProgressCounter) -> dict[str, keras.callbacks.Callback]:
        """Callbacks with a state that checkpoints keep, by the name they have there."""
        recipe, monitor, shown = self.recipe, self.task.monitor, self.task.progress
        found = {"narrator": ProgressLogger(self.bar, self.history, self.board, self.speed, progress, shown)}
        if isinstance(recipe.schedule, Plateau):
            found["plateau"] = ReduceLROnPlateau(recipe.schedule, self.built.rate, monitor)
        if recipe.keep == "best":
            found["best"] = BestCheckpoint(self.folder, self.identity, progress, monitor)
        if recipe.patience:
            spared = max((algorithm.head_epochs for algorithm in recipe.algorithms), default=0)
            found["early_stop"] = EarlyStopping(recipe.patience, self.log, monitor, spared)
        return found

    def _callbacks(self, progress: ProgressCounter, stateful: dict, pending: Pending) -> list:
        """All callbacks in the order in which they run: the counter first, for the others; what saves last."""
        task = self.task
        names = NaNMonitor(progress, lambda e, s: self.log(f"images of the batch: {task.image_names(e, s)}"))
        algorithms = [c for a in self.recipe.algorithms for c in a.callbacks(progress, self.log)]
        together = []
        if self.compute.communicator:
            own, pending = pending, Pending()
            together.append(SignalSync(self.compute.communicator, own, pending))
        saver = CheckpointSaver(self.folder, self.identity, task.every, progress, stateful, pending)
        averaged = [SwapEMAWeights()] if self.recipe.ema else []
        return [progress, *algorithms, names, self.speed, *together, *averaged, *stateful.values(), saver]

    def _finish_weights(self) -> keras.Model:
        """The model to save, with the weights that the recipe keeps."""
        model, saved = self.built.model, self.built.saved
        if self.recipe.keep == "best":
            best = self._latest(checkpoints.BEST)
            if best is None:
                raise RunError(f"{self.folder} holds no whole checkpoint of the best epoch")
            best.restore(model)
        # Keras does this at the end of `fit`; a run that was interrupted after its last epoch comes here without.
        model.optimizer.finalize_variable_values(model.trainable_variables)
        sync_batch_norm(model)
        set_synchronized_norms(model, False)
        for algorithm in self.recipe.algorithms:
            algorithm.detach(model)
        return self.task.final(saved)


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


def set_synchronized_norms(model: keras.Model, synchronized: bool) -> None:
    """Sets whether batch norm takes its statistics over all replicas; a saved model must not."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = synchronized


def check_space(folder: Path, model: keras.Model, kinds: int) -> None:
    """Raises DiskFull before the first step where the disk cannot hold a run's checkpoints of `kinds` kinds."""
    need = (kinds * checkpoints.KEEP + 1) * tensors.size(model)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise DiskFull(f"{folder}: the checkpoints need {need / 2**20:,.0f} MiB, {free / 2**20:,.0f} are free")


@contextmanager
def unreadable_images(task: Task) -> Iterator[None]:
    """Names the files when reading fails because images broke or vanished after they were indexed."""
    try:
        yield
    except backend.read_errors as error:
        splits = (getattr(task.data, split) for split in ("train", "val", "test"))
        bad = [b for split in splits for b in image_folder.unreadable(split)]
        if not bad:
            raise
        path, reason = bad[0]
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise RunError(f"{path} can no longer be read ({reason}){more}: mend or remove it, then repeat") from error
