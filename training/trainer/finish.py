"""The end of a run: saves the model, measures the splits, draws the pictures, writes `result.json`."""

from dataclasses import dataclass

import keras

from keras_cnns.deep import deep_recursion
from training.data.storage import Pixels
from training.engine.step import steps_done
from training.report import canvas
from training.report.folder import History, replace_when_complete, write_json, write_text
from training.report.tensorboard import Board
from training.run_folder import checkpoints
from training.trainer.callbacks import SpeedMonitor
from training.trainer.task import Task

MAX_WAIT = 0.02  # of the training time


@dataclass(frozen=True)
class Throughput:
    """How training went, for `result.json`; `data_wait` is a fraction of the time, `xla` "on" or "off"."""

    step: int
    images_per_second: float
    data_wait: float
    xla: str


def throughput(model, speed: SpeedMonitor, history: History) -> Throughput:
    """The throughput of a model that has just been trained."""
    last = history.rows[-1]["images_per_second"] if history.rows else 0.0
    xla = "on" if model.xla else "off"
    return Throughput(steps_done(model), speed.images_per_second() or last, speed.data_wait(model), xla)


def finish(task: Task, saved: keras.Model, speed: Throughput, history: History, board: Board) -> dict:
    """Saves the model, measures each split once, draws the pictures, writes `result.json`; returns its content."""
    config, recipe = task.config, task.config.recipe
    with deep_recursion(), replace_when_complete(task.folder / "model.keras") as path:
        saved.save(path)
    write_text(task.folder / "labels.txt", "\n".join(config.classes) + "\n")
    forward, figures = task.forward(saved), {}
    for split in task.splits:
        task.log(f"measuring the {split} split")
        predictions = task.predict(forward, split)
        figures[split] = task.figures(predictions, split)
    facts = task.facts(saved, history.rows)
    how = {
        "epochs": recipe.epochs,
        "seed": config.seed,
        "replicas": task.compute.replicas,
        "precision": task.compute.precision,
    }
    result = {
        **facts,
        **how,
        "xla": speed.xla,
        "images_per_second": speed.images_per_second,
        "data_wait": speed.data_wait,
        **figures,
        "weights_sha256": checkpoints.weights_sha256(saved),
        "finished": True,
    }
    if speed.data_wait > MAX_WAIT:
        task.log(data_advice(speed.data_wait, isinstance(task.data.train.images, Pixels)))
    if canvas.CAN:
        drawn = task.pictures(saved, history.rows, predictions)
        for name, figure in drawn.items():
            canvas.save(figure, task.folder / f"{name}.png")
        for name, figure in (drawn | task.board_pictures(saved)).items():
            board.picture(name.replace("_", " "), figure, speed.step)
    hyperparameters = {name: value for name, value in facts.items() if isinstance(value, str)} | how
    hyperparameters |= {"batch_size": recipe.batch_size, "rate": recipe.optimizer.rate, **task.settings}
    compared = {f"{split}/{name}": figures[split][name] for split in task.splits for name in task.compared}
    board.hparams(hyperparameters, compared, speed.step)
    write_json(task.folder / "result.json", result)
    return result


def data_advice(wait: float, in_memory: bool) -> str:
    """What to do about training that waited for images, for the log."""
    smaller = "" if in_memory else "store photographs smaller (shorter side about 1.2 times image_size), "
    return (
        f"training waited {wait:.0%} of its time for images: {smaller}give it more CPU cores, or take parts out "
        "of the recipe's augment"
    )
