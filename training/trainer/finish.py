"""The end of a run: the model saved, the splits measured, the pictures drawn, `result.json` written."""

from dataclasses import dataclass
from pathlib import Path

import keras

from keras_cnns import measure
from keras_cnns.deep import deep_recursion
from training.classification import evaluation
from training.classification.task import SPLITS, Run
from training.data.storage import Pixels
from training.engine.step import steps_done
from training.report import canvas, pictures
from training.report.folder import History, replace_when_complete, write_json, write_text
from training.report.tensorboard import Board
from training.run_folder import checkpoints
from training.trainer.callbacks import SpeedMonitor

MOST_WAIT = 0.02  # share of the training time


@dataclass(frozen=True)
class Throughput:
    """How training went, for `result.json`: steps, images a second, share of waiting, "on" or "off"."""

    step: int
    images_per_second: float
    data_wait: float
    xla: str


def throughput(model, clock: SpeedMonitor, history: History) -> Throughput:
    """The pace of a model that has just been trained."""
    speed = clock.images_per_second() or _last(history, "images_per_second")
    return Throughput(steps_done(model), speed, clock.data_wait(model), "on" if model.xla else "off")


def finish(run: Run, plain, pace: Throughput, history: History, board: Board) -> dict:
    """Saves the model, measures the splits once, draws the pictures, writes `result.json`."""
    config, step = run.config, pace.step
    with deep_recursion(), replace_when_complete(run.folder / "model.keras") as path:
        plain.save(path)
    write_text(run.folder / "labels.txt", "\n".join(config.classes) + "\n")
    forward = evaluation.forward(evaluation.logits_model(plain))
    loss = config.architecture.head.loss()
    figures = {}
    for name in SPLITS:
        run.log(f"measuring the {name} split")
        logits, labels = evaluation.split_logits(
            forward,
            getattr(run.data, name),
            size=config.image_size,
            channels=config.channels,
            preprocess=config.preprocessing,
            crop=config.recipe.test_crop,
            views=config.recipe.test_views,
        )
        figures[name] = evaluation.measure(logits, labels, loss)
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
        "xla": pace.xla,
        "images_per_second": pace.images_per_second,
        "data_wait": pace.data_wait,
        **figures,
        "weights_sha256": checkpoints.weights_sha256(plain),
        "finished": True,
    }
    if result["data_wait"] > MOST_WAIT:
        run.log(starved(result["data_wait"], isinstance(run.data.train.images, Pixels)))
    _draw(run, plain, history, board, step, evaluation.confusion_of(logits, labels))
    hyper = {k: result[k] for k in ("arch", "data", "recipe", "epochs", "seed", "precision", "replicas")}
    hyper |= {"batch_size": config.recipe.batch_size, "rate": config.recipe.optimizer.rate}
    hyper |= run.settings
    board.hparams(hyper, {f"{s}/{k}": figures[s][k] for s in SPLITS for k in ("loss", "top1")}, step)
    write_json(run.folder / "result.json", result)
    return result


def _draw(run: Run, plain, history: History, board: Board, step: int, confusion) -> None:
    if not canvas.CAN:
        return
    title = f"{run.config.architecture.name} on {run.data.name}"
    drawn = {}
    if history.rows:
        drawn["curves"] = pictures.curves(history.rows, title)
    drawn["confusion_matrix"] = pictures.confusion_matrix(confusion, run.config.classes, f"{title}: test split")
    for name, figure in drawn.items():
        canvas.save(figure, run.folder / f"{name}.png")
        board.picture(name.replace("_", " "), figure, step)
    first = next((w for w in plain.trainable_weights if len(w.shape) == 4), None)
    if first is not None:
        kernel = keras.ops.convert_to_numpy(first)
        board.picture("first-layer filters", pictures.filters(kernel, f"{title}: first layer"), step)


def starved(share: float, in_memory: bool) -> str:
    """What to do about training that waited for images."""
    smaller = "" if in_memory else "store photographs smaller (shorter side about 1.2 times image_size), "
    return (
        f"training waited {share:.0%} of its time for images: {smaller}give it more CPU cores, or take parts out "
        "of the recipe's augment"
    )


def _last(history: History, column: str) -> float:
    return history.rows[-1][column] if history.rows else 0.0


def summary(result: dict, folder: Path) -> str:
    """The last line of a run, for people and scripts."""
    test, val = result["test"], result["val"]
    return (
        f"done: test top-1 {test['top1']:.4f} (n={test['n']}), top-5 {test['top5']:.4f}, loss {test['loss']:.4f}, "
        f"val top-1 {val['top1']:.4f}, {result['images_per_second']:.0f} images/s, "
        f"{result['data_wait']:.1%} of the time waiting for images, run {folder}"
    )
