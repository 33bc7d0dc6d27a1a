"""The weights from which training starts, where those of the papers leave a small set unlearnt."""

import re

import keras
import numpy as np

LAST_NORM = re.compile(r"stage\d+_unit\d+_conv3_norm")  # of a bottleneck


def published(model: keras.Model, seed: int) -> None:
    """As the network was built."""


def centred(model: keras.Model, seed: int) -> None:
    """Every kernel by He's rule with the mean of each filter taken off, and every bias zero.

    Behind a ReLU all values are positive. A filter of mean zero does not see what they have in common; without
    norms, deep networks with random filters (NIN, VGG) pass on little else, and do not begin to learn.

    The class maps of NIN have a ReLU, and once all of them are below zero nothing is learnt any more; so their
    biases start at one, as Krizhevsky et al. (2012, section 5) start theirs.
    """
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            kernel = rng.normal(size=layer.kernel.shape)
            inputs = tuple(range(kernel.ndim - 1))
            kernel -= kernel.mean(inputs, keepdims=True)
            layer.kernel.assign(kernel * np.sqrt(2 / np.prod(kernel.shape[:-1])))
            if layer.bias is not None:
                layer.bias.assign(np.full(layer.bias.shape, float(layer.name == "class_maps")))


def identity(model: keras.Model, seed: int) -> None:
    """The last norm of every bottleneck at zero, each unit its shortcut (Goyal et al. 2017, section 5.1)."""
    for layer in model.layers:
        if LAST_NORM.fullmatch(layer.name):
            layer.gamma.assign(np.zeros(layer.gamma.shape))


INITIALIZERS = {f.__name__: f for f in (published, centred, identity)}
