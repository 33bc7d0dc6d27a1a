"""What several tests need: miniatures, random weights, goldens, a fresh process."""

import csv
import io
import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import forked
import keras
import numpy as np
from PIL import Image

from keras_cnns.blocks import SqueezeExcite, Staged
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


def miniature(architecture, by: int = 16, dense: int = 24):
    """The same kinds of units, few and thin: two units in the first stage, one in every other.

    Networks before the residual ones keep their layers, with filters divided `by` and `dense` units.
    """
    row = architecture.row
    if not isinstance(row, Staged):
        return _thin(architecture, by, dense)
    stages = len(row.depths)
    width = 8 if row.widths[0] == row.stem.filters else 16  # a first stage that widens still does
    spatial = getattr(row.unit, "spatial", None)
    groups = getattr(spatial, "groups", getattr(spatial, "radix", 1) * getattr(spatial, "cardinality", 1))
    while int(width * getattr(row.unit, "inner", 1)) % groups:
        width *= 2
    small = replace(
        row,
        depths=(2, *[1] * (stages - 1)),
        widths=tuple(width << i for i in range(stages)),
        stem=_squeezed_less(replace(row.stem, filters=8)),
        unit=_squeezed_less(row.unit),
    )
    side = 64 if architecture.input_shape[0] == 224 else 16
    return replace(architecture, row=small, input_shape=(side, side, 3))


def _thin(architecture, by: int, dense: int):
    a, row = architecture, architecture.row
    if hasattr(a.head, "units"):
        a = replace(a, head=replace(a.head, units=(dense, dense)))
    if isinstance(row, AlexNetBody | AlexNetOWTBody):
        row, side = replace(row, widths=tuple(w // by for w in row.widths)), a.min_size + 5
    elif isinstance(row, Column):  # VGG-11 and VGG-19 shrink alike: equal neighbours become one
        layers = [layer for i, layer in enumerate(row.layers) if layer != row.layers[i - 1]]
        row, side = replace(row, layers=tuple(narrow(layer, by) for layer in layers)), 32
    elif isinstance(row, NINBody):
        layers = tuple(replace(m, widths=tuple(w // by for w in m.widths)) for m in row.layers)
        row, side = replace(row, layers=layers), 64 if a.min_size == 32 else 16
    elif isinstance(row, GoogLeNetBody):
        stages = tuple((narrow(stage[0], by),) for stage in row.stages)
        row, side = replace(row, stages=stages, widths=(8, 8, 12)), 64
    else:
        return a
    return replace(a, row=row, input_shape=(side, side, 3))


def narrow(part, by: int = 16):
    """A layer of VGG's column or an inception module with fewer filters."""
    if isinstance(part, int):
        return part // by
    counts = {f.name: getattr(part, f.name) for f in fields(part) if f.type is Count and f.name != "kernel5"}
    return replace(part, **{name: max(count // by, 4) for name, count in counts.items()})


def _squeezed_less(part):
    """A gate of one unit may be dead in all images of a test; so thin nets are squeezed to a half only."""
    if isinstance(part, SqueezeExcite):
        return replace(part, reduction=2)
    inner = {k: getattr(part, k) for k in ("gate", "unit") if hasattr(part, k)}
    return replace(part, **{k: _squeezed_less(v) for k, v in inner.items()}) if inner else part


def _distinct():
    """Each different miniature by the first name that has it: ResNet-20 and ResNet-110 shrink alike."""
    seen = {}
    for name, architecture in ARCHITECTURES.items():
        small = miniature(architecture)
        seen.setdefault(replace(small, name="", citation=""), (name, small))
    return dict(seen.values())


def _words(small) -> set[str]:
    """What a network is made of: types of parts, places of strides, grouped or not; no sizes."""
    text = re.sub(r"\b(groups|radix|cardinality)=(\d+)", lambda m: f"{m[1]}={m[2] != '1'}", repr(small.row))
    return set(re.findall(r"[A-Z]\w+\(|<function \w+|\w+_at=\d|\w+=True|radix=False", text))


def _with_something_new():
    """The first of each kind: networks that bring a part which no earlier one has."""
    known, kinds = set(), []
    for name, small in MINIATURES.items():
        words = _words(small)
        if not isinstance(small.row, Staged) or not words <= known:
            kinds.append(name)
        known |= words
    return kinds


MINIATURES = _distinct()
KINDS = _with_something_new()


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


def forked_script(script: str) -> str:
    """As `fresh_process`, but Keras and TensorFlow are imported already, and nothing of ours."""
    return forked.run(["-c", script], level="keras", check=True).stdout


class Reference:
    """A unit in numpy, on the weights of a model; centre sampling, padding on both sides."""

    def __init__(self, model):
        self.w = weights_of(model)

    def conv(self, x, name, stride=1, dilation=1):
        kernel = self.w[f"{name}/kernel"]
        k, _, narrow, wide = kernel.shape
        groups = x.shape[-1] // narrow
        side = dilation * (k // 2)
        x = np.pad(x, [(0, 0), (side, side), (side, side), (0, 0)])
        h, w = ((n - 2 * side - 1) // stride + 1 for n in x.shape[1:3])
        y = np.zeros((len(x), h, w, wide))
        for g in range(groups):
            inner, outer = (slice(g * n, (g + 1) * n) for n in (narrow, wide // groups))
            for i, j in np.ndindex(k, k):
                rows, columns = (
                    slice(d * dilation, d * dilation + stride * n, stride) for d, n in ((i, h), (j, w))
                )
                y[..., outer] += x[:, rows, columns, inner][:, :h, :w] @ kernel[i, j, :, outer]
        return y + self.w.get(f"{name}/bias", 0)

    def norm(self, x, name):
        gamma, beta, mean, var = (
            self.w[f"{name}/{k}"] for k in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * gamma + beta

    def conv_norm(self, x, name, stride=1, dilation=1):
        return self.norm(self.conv(x, name, stride, dilation), f"{name}_norm")


def relu(x):
    """max(x, 0) in numpy."""
    return np.maximum(x, 0)


def build(unit, channels, width, stride, side=7):
    """A model of one unit with the name `u`, random statistics included."""
    x = keras.Input((side, side, channels))
    return randomise(keras.Model(x, unit(x, width, stride, "u")))


def pixels(figure) -> np.ndarray:
    """A matplotlib figure as uint8 pixels of shape (height, width, 3)."""
    from training.report.canvas import png_bytes

    with Image.open(io.BytesIO(png_bytes(figure))) as image:
        return np.asarray(image.convert("RGB"))
