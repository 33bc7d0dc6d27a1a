"""Fake quantization: a trainable float copy of a network that rounds as its int8 form does.

Also measures the ranges of activations (calibration) and the noise that eight bits add at each layer.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers as stock

from keras_cnns import layers as ours
from keras_cnns.deep import deep_recursion
from keras_cnns.graph import TensorRef
from keras_cnns.surgery.graph_editor import GraphEditor, Node

# Layers whose outputs have a range of their own in an int8 network. Others (padding, cropping, max-pooling) keep
# the range of their input.
QUANTIZED_LAYERS = (
    stock.Activation,
    stock.Add,
    stock.AveragePooling2D,
    stock.BatchNormalization,
    stock.Concatenate,
    stock.Conv2D,
    stock.Dense,
    stock.DepthwiseConv2D,
    stock.GlobalAveragePooling2D,
    stock.Multiply,
    stock.ReLU,
    stock.Rescaling,
)
STEPS = 255


@dataclass(frozen=True)
class ActivationRange:
    """Minimum, maximum and signal size of a layer's output.

    `rms` is the root mean square of the median channel: one channel of large values widens the quantization step
    of all channels, and it is the others that lose precision.
    """

    low: float
    high: float
    rms: float

    @property
    def noise(self) -> float:
        """Rounding noise of eight bits relative to the signal; the error is uniform within a step."""
        return (self.high - self.low) / STEPS / np.sqrt(12) / max(self.rms, 1e-12)


def quantization_points(model: keras.Model) -> list[str]:
    """Layers after which an int8 network rounds: all that compute, except where a ReLU follows directly.

    >>> import keras_cnns
    >>> quantization_points(keras_cnns.fuse(keras_cnns.LeNet5Modern()))[:3]
    ['conv1_relu', 'conv2_relu', 'dense1_relu']
    """
    return [node.name for node in _quantized(GraphEditor(model))]


def _quantized(editor: GraphEditor) -> list[Node]:
    nodes = [n for n in editor.nodes() if isinstance(n.layer, QUANTIZED_LAYERS)]
    return [n for n in nodes if editor.called_once(n) and _is_rounded(editor, n)]


def _is_rounded(editor: GraphEditor, node: Node) -> bool:
    (out,) = node.outputs
    consumers = editor.consumers[out]
    if out in editor.outputs:
        return False
    return not (len(consumers) == 1 and _is_relu(consumers[0].layer))


def _is_relu(layer) -> bool:
    return isinstance(layer, stock.ReLU) or getattr(layer, "activation", None) is keras.activations.relu


def calibrate(model: keras.Model, images: np.ndarray, batch: int = 8) -> dict[str, ActivationRange]:
    """Range of the output at every quantization point, over preprocessed images."""
    names = quantization_points(model)
    with deep_recursion():
        probe = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
    low, high, squares, count = np.inf, -np.inf, [0.0] * len(names), 0
    for start in range(0, len(images), batch):
        out = [np.asarray(o) for o in keras.tree.flatten(probe.predict_on_batch(images[start : start + batch]))]
        low = np.minimum(low, [o.min() for o in out])
        high = np.maximum(high, [o.max() for o in out])
        means = [np.square(o, dtype="float64").mean(axis=tuple(range(o.ndim - 1))) for o in out]
        squares = [a + b for a, b in zip(squares, means, strict=True)]
        count += 1
    sizes = [np.sqrt(np.median(s) / count) for s in squares]
    figures = zip(names, low, high, sizes, strict=True)
    return {name: ActivationRange(float(a), float(b), float(c)) for name, a, b, c in figures}


def fake_quantize(model: keras.Model, ranges: dict[str, ActivationRange]) -> keras.Model:
    """A trainable copy that rounds kernels and activations to int8 as the deployed network does.

    Args:
        model: an inference form (`fuse`); a batch norm that is left in it stays in float.
        ranges: the result of `calibrate`.
    """
    editor = GraphEditor(model)
    for node in _quantized(editor):
        (out,) = node.outputs
        quantized = editor.new_tensor(editor.shapes[out])
        editor.replace_uses(out, quantized)
        layer = ours.FakeQuantise(name=editor.unique_name(f"{node.name}_int8"))
        found = ranges[node.name]
        weights = {"low": np.float32(min(found.low, 0)), "high": np.float32(max(found.high, 0))}
        editor.add(Node(layer, (TensorRef(out),), {}, (quantized,), weights=weights))
    for node in editor.nodes():
        if node.kind in (stock.Conv2D, ours.Conv2D):
            node.kind = ours.QuantisedConv2D
        elif node.kind is stock.Dense:
            node.kind = ours.QuantisedDense
    return editor.build()


def copy_weights(model: keras.Model, trained: keras.Model) -> keras.Model:
    """A copy of `model` with the weights of its fake-quantized copy after training."""
    with deep_recursion():
        copy = GraphEditor(model).build()
    for layer in copy.layers:
        if layer.weights:
            layer.set_weights([keras.ops.convert_to_numpy(w) for w in trained.get_layer(layer.name).weights])
    return copy
