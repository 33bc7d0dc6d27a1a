"""What several tests need: miniatures, random weights, goldens, a fresh process."""

import csv
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from keras_cnns.blocks import Staged
from keras_cnns.models.alexnet import AlexNetBody, AlexNetOWTBody
from keras_cnns.models.googlenet import GoogLeNetBody
from keras_cnns.models.nin import NINBody
from keras_cnns.models.vgg import Column
from keras_cnns.values import Count
from keras_cnns.zoo import ARCHITECTURES

ROOT = Path(__file__).parent.parent

# Typed from papers and releases; the code under test never writes this file.
with open(Path(__file__).with_name("goldens.csv"), encoding="utf-8") as file:
    GOLDENS = {row["name"]: row for row in csv.DictReader(file)}


def miniature(architecture):
    """The same kinds of units, few and thin: two units in the first stage, one in every other."""
    row = architecture.row
    if not isinstance(row, Staged):
        return _thin(architecture)
    stages = len(row.depths)
    width = 8 if row.widths[0] == row.stem.filters else 16  # a first stage that widens still does
    small = replace(
        row,
        depths=(2, *[1] * (stages - 1)),
        widths=tuple(width << i for i in range(stages)),
        stem=replace(row.stem, filters=8),
    )
    side = 64 if architecture.input_shape[0] == 224 else 16
    return replace(architecture, row=small, input_shape=(side, side, 3))


def _thin(architecture):
    """The same for the networks before the residual ones; dense layers of 24 units."""
    a, row = architecture, architecture.row
    if hasattr(a.head, "units"):
        a = replace(a, head=replace(a.head, units=(24, 24)))
    if isinstance(row, AlexNetBody | AlexNetOWTBody):
        row, side = replace(row, widths=tuple(w // 16 for w in row.widths)), a.min_size + 5
    elif isinstance(row, Column):  # VGG-11 and VGG-19 shrink alike: equal neighbours become one
        layers = [layer for i, layer in enumerate(row.layers) if layer != row.layers[i - 1]]
        row, side = replace(row, layers=tuple(narrow(layer) for layer in layers)), 32
    elif isinstance(row, NINBody):
        layers = tuple(replace(m, widths=tuple(w // 16 for w in m.widths)) for m in row.layers)
        row, side = replace(row, layers=layers), 64 if a.min_size == 32 else 16
    elif isinstance(row, GoogLeNetBody):
        stages = tuple((narrow(stage[0]),) for stage in row.stages)
        row, side = replace(row, stages=stages, widths=(8, 8, 12)), 64
    else:
        return a
    return replace(a, row=row, input_shape=(side, side, 3))


def narrow(part):
    """A layer of VGG's column or an inception module with a sixteenth of the filters."""
    if isinstance(part, int):
        return part // 16
    counts = {f.name: getattr(part, f.name) for f in fields(part) if f.type is Count and f.name != "kernel5"}
    return replace(part, **{name: max(count // 16, 4) for name, count in counts.items()})


def _distinct():
    """Each different miniature by the first name that has it: ResNet-20 and ResNet-110 shrink alike."""
    seen = {}
    for name, architecture in ARCHITECTURES.items():
        small = miniature(architecture)
        seen.setdefault(replace(small, name="", citation=""), (name, small))
    return dict(seen.values())


MINIATURES = _distinct()


def randomise(model, seed: int = 0):
    """Random statistics and affine terms: the defaults 0 and 1 hide faults. Kernels keep their random start, but
    those that draw N(0, 0.01) become N(0, He): in thin layers they would leave nothing of the image.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        kind = weight.path.rpartition("/")[2]
        if kind in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif kind in ("beta", "moving_mean", "bias"):
            weight.assign(rng.normal(0, 0.2, weight.shape))
        elif kind == "kernel" and 0.008 < np.std(weight) < 0.0115:
            weight.assign(rng.normal(0, np.sqrt(2 / np.prod(weight.shape[:-1])), weight.shape))
    return model


def images(*shape: int, seed: int = 1) -> np.ndarray:
    """Normally distributed float32 numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def weights_of(model) -> dict[str, np.ndarray]:
    """Every weight as an array by `layer/weight`."""
    return {f"{layer.name}/{w.name}": w.numpy() for layer in model.layers for w in layer.weights}


def fresh_process(script: str, **environment: str) -> str:
    """Runs a script in a new Python process on the CPU and gives back what it printed."""
    variables = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**variables, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
