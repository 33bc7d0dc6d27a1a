"""Initial weights: as published, and two others for small data sets, on which the published ones do not learn."""

import re

import keras
import numpy as np

LAST_NORM = re.compile(r"stage\d+_unit\d+_conv3_norm")  # of a bottleneck


def published(model: keras.Model, seed: int) -> None:
    """As the network was built."""


def centred(model: keras.Model, seed: int) -> None:
    """Kernels by He's rule, minus the mean of each filter; biases zero.

    Behind a ReLU all values are positive, and a filter of mean zero removes what they have in common. Deep
    networks without norms and with random filters (NIN, VGG) pass on little else, and do not begin to learn.

    The class maps of NIN have a ReLU; if all of them are below zero, no gradient is left. So their biases start at
    one, as in Krizhevsky et al. (2012, section 5).
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
    """The last norm of a bottleneck is zero: units start as their shortcuts (Goyal et al. 2017, section 5.1)."""
    for layer in model.layers:
        if LAST_NORM.fullmatch(layer.name):
            layer.gamma.assign(np.zeros(layer.gamma.shape))


INITIALIZERS = {f.__name__: f for f in (published, centred, identity)}
