"""A deeper network that computes what a shallower one does: its units copied, identities between them."""

import re

import keras
import numpy as np

UNIT = re.compile(r"(stage\d+)_unit\d+_(.+)")


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
    passed = {} if residual else _passed_on(shallow, batch)
    for layer in deep.layers:
        if layer.name in known or not layer.weights:
            continue
        stage, part = UNIT.fullmatch(layer.name).groups()
        if isinstance(layer, keras.layers.Conv2D):
            if not residual:
                layer.kernel.assign(_copying(layer.kernel.shape))
        elif residual and part == "conv2_norm":
            layer.gamma.assign(np.zeros(layer.gamma.shape))
        elif not residual:
            average, variance = passed[stage]
            layer.set_weights([np.sqrt(variance + layer.epsilon), average, average, variance])
    return deep


def _copying(shape) -> np.ndarray:
    kernel = np.zeros(shape, "float32")
    kernel[shape[0] // 2, shape[1] // 2] = np.eye(shape[2])
    return kernel


def _passed_on(model: keras.Model, batch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and variance, by channel, of what each stage gives; units that are the identity see nothing else."""
    ends = {}
    for layer in model.layers:
        place = UNIT.fullmatch(layer.name)
        if place and place[2] == "relu":
            ends[place[1]] = layer.output
    values = keras.Model(model.inputs, list(ends.values())).predict_on_batch(batch)
    arrays = [np.asarray(v, "float64") for v in values]
    return {s: (a.mean((0, 1, 2)), a.var((0, 1, 2))) for s, a in zip(ends, arrays, strict=True)}
