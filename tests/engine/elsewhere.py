"""What a test runs in a process of its own on another engine: python elsewhere.py TASK FOLDER."""

import contextlib
import io
import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from support import ARCHITECTURES, MINIATURES, ROOT

from keras_cnns import fuse
from training.classification.setup import configure
from training.classification.task import ClassificationTask
from training.data import sources
from training.engine.backends import backend
from training.processes import Terminated
from training.recipes import defaults
from training.recipes.optimizers import SGD
from training.recipes.schedules import Plateau
from training.report.folder import Log
from training.run_folder import config as configs
from training.trainer import checkpoint_saver
from training.trainer.trainer import train

IMAGES = 2


def weights(model) -> list[np.ndarray]:
    """The same numbers on every engine: kernels by He's rule, norms as nets have them after some training."""
    rng, made = np.random.default_rng(0), []
    for variable in model.weights:
        kind = variable.path.rpartition("/")[2]
        if kind in ("gamma", "moving_variance"):
            made.append(rng.uniform(0.5, 1.5, variable.shape))
        elif len(variable.shape) > 1:
            made.append(rng.normal(0, np.sqrt(2 / np.prod(variable.shape[:-1])), variable.shape))
        else:
            made.append(rng.normal(0, 0.2, variable.shape))
    return made


def outputs(names: list[str]) -> dict[str, np.ndarray]:
    """Logits of miniatures with `weights`, and of their inference forms."""
    found = {}
    for name in names:
        keras.backend.clear_session()
        model = MINIATURES[name](classes=10, classifier_activation=None)
        model.set_weights(weights(model))
        images = np.random.default_rng(1).normal(size=(IMAGES, *model.input_shape[1:])).astype("float32")
        found[name] = backend.forward(model)(images)
        found[f"{name} fused"] = backend.forward(fuse(model))(images)
    return found


def tiny(folder: Path, **changes) -> ClassificationTask:
    """A run of a short ResNet over 100 digits, with all that the recipe of a step has."""
    chosen = backend.choose(changes.pop("replicas", None), changes.pop("precision", "auto"), "auto", False)
    data = sources.load("digits")
    data = replace(
        data, train=data.train.take(range(100)), val=data.val.take(range(45)), test=data.test.take(range(30))
    )
    resnet = ARCHITECTURES["resnet20"]
    network = replace(resnet, row=replace(resnet.row, depths=(1, 1), widths=(16, 24)))
    recipe = replace(
        defaults.quick(network, data).scaled(2),
        batch_size=20,
        image_size=8,
        optimizer=SGD(0.05, 0.9, nesterov=True),
        schedule=Plateau(patience=1),
        clip=1.0,
        smoothing=0.1,
        ema=0.9,
        keep="best",
    )
    config = configure(network, replace(recipe, **changes), data, "digits", chosen)
    folder.mkdir(exist_ok=True)
    configs.write(config, folder)
    return ClassificationTask(config, data, chosen, folder, Log(folder / "log.txt"))


def interrupted(folder: Path, step: int) -> dict:
    """A run that is told to stop after `step` steps, and then goes on."""
    whole = checkpoint_saver.CheckpointSaver.on_train_batch_end

    def stopping(self, batch, logs=None):
        if self.progress.place.number == step:
            self.pending.number = 15
        whole(self, batch, logs)

    checkpoint_saver.CheckpointSaver.on_train_batch_end = stopping
    try:
        train(tiny(folder))
        raise AssertionError("it did not stop")
    except Terminated:
        pass
    finally:
        checkpoint_saver.CheckpointSaver.on_train_batch_end = whole
    return train(tiny(folder))


def training(folder: Path) -> dict:
    """Results of an unbroken run, one broken within its first epoch, one in bfloat16; where
    there are several devices, one on two of them.
    """
    results = {}
    if backend.always_xla:  # first: JAX starts with all its devices
        results["two"] = train(tiny(folder / "two", replicas=2))
        keras.distribution.set_distribution(None)
    return results | {
        "unbroken": train(tiny(folder / "unbroken")),
        "within": interrupted(folder / "within", 3),
        "bfloat16": train(tiny(folder / "bfloat16", precision="bfloat16")),
    }


REFUSED = (
    "--workers a:1,b:2 --worker-index 0",
    "--sync-bn",
    "--replicas 3 --batch-size 100",
    "--set accumulate=2",
    "--recipe modern",
    "--data cifar10",
)


def refusals(engine_xla: str) -> dict[str, list]:
    """What fit.py answers to options that only TensorFlow has: options -> [exit status, stderr]."""
    answers = {}
    for options in (*REFUSED, f"--xla {engine_xla}"):
        sys.argv, said = ["fit.py", *options.split()], io.StringIO()
        with contextlib.redirect_stderr(said):
            try:
                runpy.run_path(str(ROOT / "training" / "fit.py"), run_name="__main__")
            except SystemExit as end:
                answers[options] = [end.code, said.getvalue()]
    return answers


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    if sys.argv[1] == "training":
        (folder / "results.json").write_text(json.dumps(training(folder)))
    elif sys.argv[1] == "refusals":
        (folder / "answers.json").write_text(json.dumps(refusals("off" if backend.always_xla else "on")))
    else:
        # Compiling what draws the start, shape by shape, would take most of the time.
        keras.initializers.VarianceScaling.__call__ = lambda self, shape, dtype=None, **_: np.zeros(
            shape, "float32"
        )
        np.savez(folder / "outputs.npz", **outputs(sys.argv[1].split(",")))
