"""The end of a detector's run: the model saved, the splits measured, pictures drawn, `result.json` written."""

from dataclasses import asdict

import numpy as np

from keras_cnns.deep import deep_recursion
from training.detection import drawing, scoring
from training.engine.checkpoints import weights_sha256
from training.engine.outcome import beside
from training.engine.step import steps_done
from training.report import pictures
from training.report.folder import write_json, write_text

SHOWN = 8  # test images in the picture


def conclude(run, inference, model, clock, history, board) -> dict:
    """Saves the model, measures val and test once, draws, writes `result.json`."""
    config, step = run.config, steps_done(model)
    with deep_recursion(), beside(run.folder / "model.keras") as path:
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
    if pictures.CAN:
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
    drawn = {"detections": drawing.sheet([few.images[i] for i in range(len(few))], found, config.classes, title)}
    if history.rows:
        drawn["curves"] = drawing.curves(history.rows, title)
    for name, figure in drawn.items():
        pictures.save(figure, run.folder / f"{name}.png")
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
