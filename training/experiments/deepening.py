"""A deeper network that computes what a shallower one does: its units copied, identities between them."""

import re

import keras
import numpy as np

from keras_cnns.graph import trace

UNIT = re.compile(r"(stage\d+)_unit(\d+)_(.+)")


def deepened(shallow: keras.Model, deep: keras.Model, batch) -> keras.Model:
    """`deep` with the weights of `shallow`, and with those units that only it has set to the identity.

    Both are networks of basic units of the same widths, plain or residual (`models.resnet`). A residual unit is
    the identity if its second norm is zero. A plain one needs kernels that copy, and norms that give back what
    they take: scale and offset are the deviation and mean of what comes in, measured on a batch, so that training
    mode changes it little, too. A unit's ReLU changes nothing, since what comes out of another unit is not
    negative.

    Args:
        batch: preprocessed images.
    """
    known = {layer.name: layer for layer in shallow.layers}
    residual = any(isinstance(layer, keras.layers.Add) for layer in deep.layers)
    for layer in deep.layers:
        if layer.name in known and layer.weights:
            layer.set_weights(known[layer.name].get_weights())
    for layer in deep.layers:  # in order: a norm's statistics depend on the units before it
        if layer.name in known or not layer.weights:
            continue
        part = UNIT.fullmatch(layer.name)[3]
        if isinstance(layer, keras.layers.Conv2D):
            if not residual:
                layer.kernel.assign(_copying(layer.kernel.shape))
        elif residual and part == "conv2_norm":
            layer.gamma.assign(np.zeros(layer.gamma.shape))
        elif not residual:
            _give_back(layer, deep, batch)
    return deep


def _copying(shape) -> np.ndarray:
    kernel = np.zeros(shape, "float32")
    kernel[shape[0] // 2, shape[1] // 2] = np.eye(shape[2])
    return kernel


def _give_back(norm, model: keras.Model, batch) -> None:
    """The norm as the identity, for what it takes of these images."""
    nodes, tensors = trace(model)
    (position,) = next(node.inputs for node in nodes if node.layer is norm)
    values = np.asarray(keras.Model(model.inputs, tensors[position]).predict_on_batch(batch), "float64")
    average, variance = values.mean((0, 1, 2)), values.var((0, 1, 2))
    norm.set_weights([np.sqrt(variance + norm.epsilon), average, average, variance])
