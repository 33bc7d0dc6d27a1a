"""Filter pruning: finds the convolutions whose filters can be removed, and removes filters.

Filters of a convolution can be removed if its output goes to one other convolution only, through its batch norm,
activations with f(0) = 0, padding and pooling. In a residual network these are the first convolution of a basic
unit and the first two of a bottleneck, in VGG all but the last; filters that are added to a shortcut have to stay.
The convolutions of a gate, after a global pooling, stay too: they cost almost nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers as stock

from keras_cnns import layers as ours
from keras_cnns.graph import TensorRef
from keras_cnns.measure import measure
from keras_cnns.surgery.graph_editor import GraphEditor, Node
from keras_cnns.surgery.linear import (
    CHANNELWISE,
    CONVOLUTIONS,
    GLOBAL_POOLING,
    NORMS,
    array,
    scale_and_shift,
    weights_of,
)
from keras_cnns.values import Count, Value

# Layers that map a channel of zeros to zeros and do not mix channels.
PASSING = (*CHANNELWISE, stock.SpatialDropout2D, ours.CeilMaxPooling2D)
ACTIVATIONS = ("linear", "relu", "relu6", "leaky_relu", "tanh", "silu", "gelu", "elu")


@dataclass(frozen=True)
class Prunable:
    """A convolution whose filters can be removed, its norm or None, and the convolution that reads its output."""

    conv: Node
    norm: Node | None
    reader: Node

    @property
    def name(self) -> str:
        return self.conv.name

    @property
    def filters(self) -> int:
        return self.conv.config["filters"]

    @property
    def last(self) -> Node:
        """The node whose output the reader gets, apart from activation, padding and pooling."""
        return self.norm or self.conv


def find_prunable(editor: GraphEditor) -> Iterator[Prunable]:
    """Every convolution of a graph whose filters can be removed, in graph order."""
    for node in list(editor.nodes()):
        if not _is_free(editor, node) or node.config["activation"] != "linear":
            continue
        if _is_pooled(editor, node.inputs[0]):
            continue
        norm = _norm_behind(editor, node)
        reader = _reader(editor, (norm or node).outputs[0])
        if reader is not None:
            yield Prunable(node, norm, reader)


def _is_free(editor: GraphEditor, node: Node) -> bool:
    plain = node.kind in CONVOLUTIONS and node.config["groups"] == 1
    return plain and node.config["data_format"] == "channels_last" and editor.called_once(node)


def _is_pooled(editor: GraphEditor, tensor: int) -> bool:
    """True for a global pooling or a sum of such: the input of a gate."""
    if tensor not in editor.producers:
        return False
    maker = editor.producers[tensor]
    return maker.kind in GLOBAL_POOLING or (
        maker.kind is stock.Add and all(_is_pooled(editor, t) for t in maker.inputs)
    )


def _norm_behind(editor: GraphEditor, node: Node) -> Node | None:
    (out,) = node.outputs
    if editor.uses(out) != 1 or not editor.consumers[out]:
        return None
    (reader,) = editor.consumers[out]
    return reader if reader.kind in NORMS and editor.called_once(reader) else None


def _reader(editor: GraphEditor, tensor: int) -> Node | None:
    """The only convolution that reads a tensor, through layers that do not mix channels; else None."""
    while editor.uses(tensor) == 1 and editor.consumers[tensor]:
        (node,) = editor.consumers[tensor]
        if _is_free(editor, node):
            return node
        if not _passes(node):
            return None
        (tensor,) = node.outputs
    return None


def _passes(node: Node) -> bool:
    if node.kind is stock.Activation:
        return node.layer.get_config()["activation"] in ACTIVATIONS
    return node.kind in PASSING or node.kind is ours.Compactor


# --- edits for `EditedRow` --------------------------------------------------------------------------------------


def compact(editor: GraphEditor) -> None:
    """Adds a compactor to every prunable convolution: after its norm, before its activation."""
    for prunable in list(find_prunable(editor)):
        (behind,) = prunable.last.outputs
        after = editor.new_tensor(editor.shapes[behind])
        editor.replace_uses(behind, after)
        layer = ours.Compactor(name=compactor_of(prunable.name), dtype=prunable.conv.layer.dtype_policy.name)
        editor.add(Node(layer, (TensorRef(behind),), {}, (after,)))


def compactor_of(conv: str) -> str:
    """Name of the compactor of a convolution.

    >>> compactor_of("stage1_unit1_conv1")
    'stage1_unit1_conv1_compactor'
    """
    return f"{conv}_compactor"


@dataclass(frozen=True)
class Narrow(Value):
    """Builds convolutions with fewer filters: pairs of name and number. Their readers get fewer input channels.

    Raises:
        ValueError: on the call, if one of the convolutions does not exist or cannot be pruned.
    """

    widths: tuple[tuple[str, Count], ...]

    def __call__(self, editor: GraphEditor) -> None:
        found = {prunable.name: prunable for prunable in find_prunable(editor)}
        for name, filters in self.widths:
            if name not in found:
                raise ValueError(f"{name!r} is not a convolution that can have fewer filters")
            if filters > found[name].filters:
                raise ValueError(f"{name} must have at most {found[name].filters} filters, got {filters}")
            found[name].conv.changes["filters"] = filters


# --- removing filters of a trained model ------------------------------------------------------------------------


def mix_channels(prunable: Prunable, matrix: np.ndarray) -> None:
    """Replaces the channels by `channels @ matrix`, (filters, fewer); the reader is not yet changed.

    The norm's scale goes into the kernel, and a norm of the mixed channels replaces the old one, so that the
    network keeps its layers. Its moving mean is exact; its moving variance assumes uncorrelated channels, and its
    gamma cancels that, so inference does not change.
    """
    kernel, bias = weights_of(prunable.conv, "kernel", "bias")
    if prunable.norm is None:
        prunable.conv.weights = {"kernel": kernel @ matrix}
        if prunable.conv.config["use_bias"]:
            prunable.conv.weights["bias"] = bias @ matrix
        prunable.conv.changes["filters"] = matrix.shape[1]
        return
    scale, shift = scale_and_shift(prunable.norm)
    layer = prunable.norm.layer
    mean = (scale * (array(layer.moving_mean) - bias)) @ matrix
    variance = (scale**2 * array(layer.moving_variance)) @ matrix**2
    prunable.conv.weights = {"kernel": (kernel * scale) @ matrix}
    if prunable.conv.config["use_bias"]:
        prunable.conv.weights["bias"] = np.zeros(matrix.shape[1])
    prunable.conv.changes["filters"] = matrix.shape[1]
    prunable.norm.changes.update(center=True, scale=True)
    prunable.norm.weights = {
        "gamma": np.sqrt(variance + layer.epsilon),
        "beta": (bias * scale + shift) @ matrix + mean,
        "moving_mean": mean,
        "moving_variance": variance,
    }


def keep_filters(prunable: Prunable, kept: np.ndarray) -> None:
    """Keeps the filters of these indices, with their norms; the reader is not yet changed."""
    kernel, bias = weights_of(prunable.conv, "kernel", "bias")
    prunable.conv.weights = {"kernel": kernel[..., kept]}
    if prunable.conv.config["use_bias"]:
        prunable.conv.weights["bias"] = bias[kept]
    prunable.conv.changes["filters"] = len(kept)
    if prunable.norm is not None:
        layer = prunable.norm.layer
        prunable.norm.weights = {w.name: keras.ops.convert_to_numpy(w)[kept] for w in layer.weights}


def keep_inputs(prunable: Prunable, kept: np.ndarray) -> None:
    """Makes the reader read the kept channels only."""
    reader = prunable.reader
    kernel, bias = weights_of(reader, "kernel", "bias")
    reader.weights = {"kernel": kernel[:, :, kept], **({"bias": bias} if reader.config["use_bias"] else {})}


# --- cost -------------------------------------------------------------------------------------------------------


class Costs:
    """Multiply-accumulates of a model for one image, as a function of the filters that its convolutions keep.

    Compactors are not counted: they go into the convolutions before them.

    Args:
        input_shape: (height, width, channels), where the model leaves it open.
    """

    def __init__(self, model: keras.Model, input_shape=None):
        editor = GraphEditor(model)
        self.filters = {prunable.name: prunable.filters for prunable in find_prunable(editor)}
        reads = {prunable.reader.name: prunable.name for prunable in find_prunable(editor)}
        rows = [r for r in measure(model, input_shape).layers if r.macs and r.kind != ours.Compactor.__name__]
        self.rows = [(r.macs, r.name if r.name in self.filters else None, reads.get(r.name)) for r in rows]

    def __call__(self, kept: dict[str, int]) -> int:
        """MACs with the given number of filters in each prunable convolution."""
        total = 0
        for macs, out, into in self.rows:
            for name in (out, into):
                if name is not None:
                    macs = macs * kept[name] // self.filters[name]
            total += macs
        return total

    @property
    def full(self) -> int:
        """MACs with all filters."""
        return self(self.filters)
