"""The linear part of layers in float64: kernels, biases, and the scale and shift of a batch norm."""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers as stock

from keras_cnns import layers as ours
from keras_cnns.surgery.graph_editor import Node

NORMS = (stock.BatchNormalization, ours.BatchNormalization)
CONVOLUTIONS = (stock.Conv2D, ours.Conv2D)
# f(s * x) = s * f(x) for s >= 0, each channel by itself; f(0) = 0.
CHANNELWISE = (stock.ReLU, stock.MaxPooling2D, stock.AveragePooling2D, stock.ZeroPadding2D, stock.Dropout)
GLOBAL_POOLING = (stock.GlobalAveragePooling2D, stock.GlobalMaxPooling2D)
Weights = dict[str, np.ndarray]


def array(weight) -> np.ndarray:
    """A weight in float64."""
    return np.asarray(keras.ops.convert_to_numpy(weight), "float64")


def weights_of(node: Node, *names: str) -> list[np.ndarray]:
    """Weights of the node's copy by attribute name; a missing one, as `bias`, is zero."""
    found = []
    for name in names:
        value = getattr(node.layer, name, None) if node.weights is None else node.weights.get(name)
        found.append(np.zeros(()) if value is None else array(value))
    return found


def scale_and_shift(norm: Node) -> tuple[np.ndarray, np.ndarray]:
    """A batch norm at inference: x * scale + shift."""
    layer = norm.layer
    scale = 1 / np.sqrt(array(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * array(layer.gamma)
    shift = -array(layer.moving_mean) * scale
    return scale, shift + array(layer.beta) if layer.center else shift


def scaled(node: Node) -> Callable | None:
    """A function (scale, shift) -> weights of the node's layer with its output scaled and shifted per channel.

    None for a layer that is not known to be linear. Classes are matched exactly, since a subclass may differ.
    """
    rule = _RULES.get(node.kind)
    if rule is None or _has_other_weights(node.layer):
        return None
    return lambda scale, shift: rule(node, scale, shift)


def _has_other_weights(layer) -> bool:
    """True for quantized and low-rank-adapted layers."""
    return len(layer.weights) != layer.use_bias + (3 if type(layer) is stock.SeparableConv2D else 2) - 1


def _last_axis(node: Node, scale, shift) -> Weights:
    kernel, bias = weights_of(node, "kernel", "bias")
    return {"kernel": kernel * scale, "bias": bias * scale + shift}


def _depthwise(node: Node, scale, shift) -> Weights:
    kernel, bias = weights_of(node, "kernel", "bias")  # (kh, kw, channels, multiplier), channels outermost
    return {"kernel": kernel * scale.reshape(kernel.shape[2:]), "bias": bias * scale + shift}


def _separable(node: Node, scale, shift) -> Weights:
    depthwise, pointwise, bias = weights_of(node, "depthwise_kernel", "pointwise_kernel", "bias")
    return {
        "depthwise_kernel": depthwise,
        "pointwise_kernel": pointwise * scale,
        "bias": bias * scale + shift,
    }


def _transposed(node: Node, scale, shift) -> Weights:
    kernel, bias = weights_of(node, "kernel", "bias")  # (kh, kw, filters, channels)
    return {"kernel": kernel * scale[:, None], "bias": bias * scale + shift}


_RULES = {
    ours.Conv2D: _last_axis,
    stock.Conv1D: _last_axis,
    stock.Conv2D: _last_axis,
    stock.Conv3D: _last_axis,
    stock.Dense: _last_axis,
    stock.DepthwiseConv2D: _depthwise,
    stock.SeparableConv2D: _separable,
    stock.Conv2DTranspose: _transposed,
}
