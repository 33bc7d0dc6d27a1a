"""One training run, from a config and a data set to a finished run folder."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from keras_cnns import measure
from keras_cnns.architecture import load_weights
from keras_cnns.deep import deep_recursion
from training.data import folder, pipeline
from training.data.augment import suit
from training.data.dataset import DataSet, Split
from training.door import Failure
from training.engine import checkpoints, scoring
from training.engine.callbacks import Best, Clock, Narrator, PlateauWatch, Saver, Watch
from training.engine.compute import Compute
from training.engine.config import Config
from training.engine.step import StepModel, steps_done, synchronise
from training.report import pictures
from training.report.folder import History, Log, write_json, write_text
from training.report.progress import Bar, duration
from training.report.tensorboard import Board
from training.schedules import Plateau, Rate

EVALUATION_BATCH = 256
DRY_BATCH = 4
SHOWN = 32  # images in batch.png
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Run:
    """What a run is made of, handed around together."""

    config: Config
    data: DataSet
    compute: Compute
    folder: Path
    log: Log

    def evaluation(self, split: Split):
        """Batches of a split as it is measured: in order, without augmentation."""
        c = self.config
        return pipeline.eval_batches(
            split,
            size=c.image_size,
            channels=c.channels,
            batch_size=min(EVALUATION_BATCH, max(c.recipe.batch_size, 2 * self.compute.replicas)),
            preprocess=c.preprocessing,
            crop=c.recipe.test_crop,
        )

    def training(self, first_epoch: int = 0):
        """The stream of training batches from an epoch on."""
        c = self.config
        return pipeline.train_batches(
            self.data.train,
            size=c.image_size,
            channels=c.channels,
            batch_size=c.recipe.batch_size,
            seed=c.seed,
            epochs=c.recipe.epochs,
            first_epoch=first_epoch,
            augment=suit(c.recipe.augment, self.data)[0],
            preprocess=c.preprocessing,
        )


def dry(config: Config, data: DataSet) -> tuple[Config, DataSet]:
    """One step of everything: one small batch to train on, one to validate, one to test."""
    batch = max(DRY_BATCH, config.replicas)
    few = {name: getattr(data, name).take(range(min(batch, len(getattr(data, name))))) for name in SPLITS}
    recipe = replace(config.recipe.scaled(1), batch_size=min(batch, len(few["train"])))
    return replace(config, recipe=recipe, dry=True), replace(data, **few)


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
        plain = config.build()
        if config.weights:
            load_weights(plain, config.weights)
        model, rate = compiled(plain, config, steps, run.compute)
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
        if config.recipe.keep == "best":
            checkpoints.read(run.folder / "checkpoints" / "best").restore(model)
        synchronise(model)
        return _finish(run, plain, model, clock, history, board)


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


def compiled(plain: keras.Model, config: Config, steps: int, compute: Compute) -> tuple[StepModel, Rate]:
    """The step model that trains the layers of `plain`, and the learning rate that a callback may brake."""
    recipe = config.recipe
    rate = Rate(recipe.optimizer.rate, recipe.schedule, recipe.warm_up, recipe.epochs, steps)
    model = StepModel(plain.inputs, plain.get_layer("logits").output, recipe.decay, recipe.decay_on)
    loss = config.architecture.head.loss()
    model.compile(recipe.optimizer.build(rate), loss, jit_compile=compute.xla)
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


def _finish(run: Run, plain, model, clock: Clock, history: History, board: Board) -> dict:
    """Saves the model, measures the splits once, draws the pictures, writes `result.json`."""
    config, step = run.config, steps_done(model)
    with deep_recursion(), beside(run.folder / "model.keras") as path:
        plain.save(path)
    write_text(run.folder / "labels.txt", "\n".join(config.classes) + "\n")
    forward = scoring.forward(scoring.logits_model(plain))
    loss = config.architecture.head.loss()
    figures = {}
    for name in SPLITS:
        run.log(f"measuring the {name} split")
        logits, labels = scoring.outputs_of(forward, run.evaluation(getattr(run.data, name)))
        figures[name] = scoring.measure(logits, labels, loss)
    sizes = measure(plain)
    result = {
        "arch": config.architecture.name,
        "data": config.data,
        "recipe": config.recipe.name,
        "params": sizes.trainable_params,
        "macs": sizes.macs,
        "epochs": config.recipe.epochs,
        "seed": config.seed,
        "replicas": run.compute.replicas,
        "precision": run.compute.precision,
        "xla": "on" if run.compute.xla else "off",
        "images_per_second": clock.images_per_second() or _last(history, "images_per_second"),
        "data_wait": clock.data_wait(model),
        **figures,
        "weights_sha256": checkpoints.weights_sha256(plain),
        "finished": True,
    }
    _draw(run, plain, history, board, step, scoring.confusion_of(logits, labels))
    hyper = {k: result[k] for k in ("arch", "data", "recipe", "epochs", "seed", "precision", "replicas")}
    hyper |= {"batch_size": config.recipe.batch_size, "rate": config.recipe.optimizer.rate}
    board.hparams(hyper, {f"{s}/{k}": figures[s][k] for s in SPLITS for k in ("loss", "top1")}, step)
    write_json(run.folder / "result.json", result)
    return result


def _draw(run: Run, plain, history: History, board: Board, step: int, confusion) -> None:
    title = f"{run.config.architecture.name} on {run.data.name}"
    drawn = {}
    if history.rows:
        drawn["curves"] = pictures.curves(history.rows, title)
    drawn["confusion_matrix"] = pictures.confusion_matrix(confusion, run.config.classes, f"{title}: test split")
    for name, figure in drawn.items():
        pictures.save(figure, run.folder / f"{name}.png")
        board.picture(name.replace("_", " "), figure, step)
    first = next((w for w in plain.trainable_weights if len(w.shape) == 4), None)
    if first is not None:
        kernel = keras.ops.convert_to_numpy(first)
        board.picture("first-layer filters", pictures.filters(kernel, f"{title}: first layer"), step)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path of the same suffix to write to; it takes the place of `path` when the block ends well."""
    temporary = path.with_name(f"unfinished-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _last(history: History, column: str) -> float:
    return history.rows[-1][column] if history.rows else 0.0


def finished(folder: Path) -> dict | None:
    """The result of a run that is done, or None."""
    path = folder / "result.json"
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    return result if result.get("finished") else None


def summary(result: dict, folder: Path) -> str:
    """The last line of a run, for people and scripts."""
    test, val = result["test"], result["val"]
    return (
        f"done: test top-1 {test['top1']:.4f} (n={test['n']}), top-5 {test['top5']:.4f}, loss {test['loss']:.4f}, "
        f"val top-1 {val['top1']:.4f}, {result['images_per_second']:.0f} images/s, run {folder}"
    )
