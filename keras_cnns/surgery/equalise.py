"""Cross-layer equalization: rescales channels to similar ranges without changing the network's function.

Nagel, van Baalen, Blankevoort & Welling (2019): Data-Free Quantization Through Weight Equalization and Bias
Correction, arXiv 1906.04721, section 4.1. The output of a convolution can be divided by s per channel if the next
one multiplies by s: ReLU, padding and pooling between them commute with positive factors. In eight bits one
channel with large values would leave few quantization steps for all others.
"""

import keras
import numpy as np
from keras import layers as stock

from keras_cnns.deep import deep_recursion
from keras_cnns.surgery.graph_editor import GraphEditor, Node
from keras_cnns.surgery.linear import CHANNELWISE, CONVOLUTIONS, GLOBAL_POOLING, weights_of

SCALE_EQUIVARIANT = (*CHANNELWISE, *GLOBAL_POOLING, stock.Identity)


def equalise(model: keras.Model, images: np.ndarray, batch: int = 8) -> keras.Model:
    """A copy with the same outputs in which the channels between two convolutions have similar ranges.

    Applies where the output of a convolution goes, through ReLU, padding or pooling, to one other convolution or
    dense layer and nowhere else: all of a deployed RepVGG, the inside of residual units. s makes the largest
    output of a channel as large as the largest weight that reads it.

    Args:
        model: an inference form (`fuse`).
        images: preprocessed images, to measure the ranges of channels.
    """
    editor = GraphEditor(model)
    pairs = [(s, *found) for s in editor.nodes() if _scales(editor, s) and (found := _reader(editor, s))]
    if not pairs:
        return editor.build()
    with deep_recursion():
        probe = keras.Model(model.inputs, [model.get_layer(last.name).output for _, last, _ in pairs])
    largest = [0.0] * len(pairs)
    for start in range(0, len(images), batch):
        out = keras.tree.flatten(probe.predict_on_batch(images[start : start + batch]))
        peaks = [np.abs(o).max(axis=tuple(range(o.ndim - 1))) for o in out]
        largest = [np.maximum(a, b) for a, b in zip(largest, peaks, strict=True)]
    for (node, _, reader), peak in zip(pairs, largest, strict=True):
        _equalise(node, reader, peak)
    return editor.build()


def _scales(editor: GraphEditor, node: Node) -> bool:
    linear = node.kind in CONVOLUTIONS and node.layer.activation is keras.activations.linear
    return linear and editor.called_once(node) and node.layer.data_format == "channels_last"


def _reader(editor: GraphEditor, node: Node) -> tuple[Node, Node] | None:
    """(last node before it, the one convolution or dense layer that reads the node's output), or None."""
    while True:
        (out,) = node.outputs
        if editor.uses(out) != 1 or not editor.consumers[out]:
            return None
        (reader,) = editor.consumers[out]
        if not editor.called_once(reader):
            return None
        if reader.kind in CONVOLUTIONS or (reader.kind is stock.Dense and len(editor.shapes[out]) == 2):
            return node, reader
        relu = reader.kind is stock.Activation and reader.layer.activation is keras.activations.relu
        capped = reader.kind is stock.ReLU and (reader.layer.max_value is not None or reader.layer.threshold)
        if capped or not (relu or reader.kind in SCALE_EQUIVARIANT):
            return None
        node = reader


def _equalise(node: Node, reader: Node, peak: np.ndarray) -> None:
    kernel, bias = weights_of(node, "kernel", "bias")
    reading, offset = weights_of(reader, "kernel", "bias")
    # (..., inputs of a group, groups, filters of a group): input c is number c % width of group c // width.
    width = reading.shape[-2]
    groups = len(peak) // width
    parts = reading.reshape(*reading.shape[:-1], groups, -1)
    reads = np.abs(parts).max(axis=(*range(parts.ndim - 3), -1)).T.reshape(-1)
    known = (peak > 0) & (reads > 0)
    s = np.where(known, np.sqrt(np.where(known, peak, 1) / np.where(known, reads, 1)), 1.0)
    s /= np.exp(np.log(s).mean())
    node.weights = {"kernel": kernel / s, **({"bias": bias / s} if node.config["use_bias"] else {})}
    parts = parts * s.reshape(groups, width).T[:, :, None]
    reader.weights = {
        "kernel": parts.reshape(reading.shape),
        **({"bias": offset} if reader.config["use_bias"] else {}),
    }
