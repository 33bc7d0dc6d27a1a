"""The inference form of a model: batch norms folded, parallel branches merged, training-only layers removed.

At inference a batch norm is x * scale + shift per channel, so it goes into the kernel and bias of the layer before
it; and the sum of convolutions of one input is the convolution with the sum of their kernels (Ding et al. 2021,
RepVGG, arXiv 2101.03697, section 3.3), the smaller kernels padded with zeros and the identity written as a kernel
of ones and zeros.
"""

import logging

import keras
import numpy as np
from keras import layers as stock

from keras_cnns.layers import Compactor
from keras_cnns.surgery.branches import merge
from keras_cnns.surgery.graph_editor import GraphEditor, Node
from keras_cnns.surgery.linear import CONVOLUTIONS, NORMS, array, scale_and_shift, scaled, weights_of
from keras_cnns.surgery.stock import use_stock_where_fast

LOG = logging.getLogger("keras_cnns")

# Layers that do nothing at inference. A layer of this package sets `training_only = True`.
TRAINING_ONLY = (
    stock.ActivityRegularization,
    stock.AlphaDropout,
    stock.Dropout,
    stock.GaussianDropout,
    stock.GaussianNoise,
    stock.SpatialDropout1D,
    stock.SpatialDropout2D,
    stock.SpatialDropout3D,
)


def fuse(model: keras.Model) -> keras.Model:
    """The inference form: a plain functional model with the same outputs in inference, and fewer layers.

    - A batch norm goes into the convolution or dense layer before it, if nothing else reads that layer's output.
    - Linear branches of one input that meet in an `Add` (convolutions of the same stride and groups, batch norms,
      the input itself) become one convolution.
    - A compactor of ResRep goes into the convolution before it.
    - Dropout and noise layers are removed.
    - Layers become stock Keras layers where these are as fast; `stock_layers` replaces the others, too.

    Works on any functional or Sequential model, trained or not; the original is unchanged. Remaining layers,
    inputs and outputs keep their names. Nested models are flattened. A layer that is called more than once, or
    with `training=True`, keeps its batch norm or dropout. Fusing twice changes nothing.

    Batch norms that stay are logged with the reason; `unfoldable` returns them as a dictionary.

    Example:

    >>> import keras_cnns
    >>> model = keras_cnns.ResNet20()
    >>> fused = keras_cnns.fuse(model)
    >>> sum("norm" in layer.name for layer in fused.layers)
    0
    """
    editor = GraphEditor(model)
    norms = len(_norms(editor))
    _fuse(editor)
    _log(model.name, norms, _reasons(editor))
    use_stock_where_fast(editor)
    return editor.build()


def unfoldable(model: keras.Model) -> dict[str, str]:
    """The batch norms that `fuse` cannot fold, by layer name, with the reason. Builds no model.

    >>> import keras_cnns
    >>> unfoldable(keras_cnns.WRN16_4())["stage1_unit2_preact_norm"]
    'pre-activation: it reads stage1_unit1_add (Add)'
    """
    editor = GraphEditor(model)
    _fuse(editor)
    return _reasons(editor)


def _fuse(editor: GraphEditor) -> None:
    for node in list(editor.nodes()):
        idle = isinstance(node.layer, TRAINING_ONLY) or getattr(node.layer, "training_only", False)
        if idle and not _trains(node):
            editor.bypass(node)
    changed = True
    while changed:  # a merged convolution may be followed by another batch norm
        for node in _norms(editor):
            if _why_not(editor, node) is None:
                _fold(editor, node)
        mixed = [_merge_compactor(editor, node) for node in list(editor.nodes()) if node.kind is Compactor]
        changed = merge(editor) or any(mixed)


def _norms(editor: GraphEditor) -> list[Node]:
    return [s for s in editor.nodes() if s.kind in NORMS]


def _trains(node: Node) -> bool:
    """True if the call fixes training mode (Monte Carlo dropout, for example)."""
    return bool(node.kwargs.get("training")) or any(a is True for a in node.args[1:])


def _why_not(editor: GraphEditor, norm: Node) -> str | None:
    """Why a batch norm cannot go into the layer before it; None if it can."""
    if _trains(norm):
        return "it is called with training=True"
    if not editor.called_once(norm):
        return "it is called more than once"
    before = editor.producers.get(norm.inputs[0])
    if before is None:
        return "pre-activation: it reads the input of the model"
    who = f"{before.name} ({before.kind.__name__})"
    if scaled(before) is None:
        return f"pre-activation: it reads {who}"
    if before.layer.activation is not keras.activations.linear:
        return f"{who} before it has an activation of its own"
    if not editor.called_once(before):
        return f"{who} before it is called more than once"
    if editor.uses(norm.inputs[0]) > 1:
        return f"{who} before it is read elsewhere too"
    if before.layer.compute_dtype != norm.layer.compute_dtype:
        return f"{who} before it works in {before.layer.compute_dtype}"
    axis, rank = norm.layer.axis, len(editor.shapes[norm.inputs[0]])
    channels = 1 if getattr(before.layer, "data_format", None) == "channels_first" else rank - 1
    if axis % rank != channels:
        return f"it normalises axis {axis}, which is not the channels of {who}"
    return None


def _fold(editor: GraphEditor, norm: Node) -> None:
    before = editor.producers[norm.inputs[0]]
    before.weights = scaled(before)(*scale_and_shift(norm))
    before.changes["use_bias"] = True
    _move_output(editor, before, norm)


def _move_output(editor: GraphEditor, before: Node, node: Node) -> None:
    """Makes `before` the producer of the output of `node`, its only consumer."""
    inner, outer = before.outputs[0], node.outputs
    editor.consumers[inner] = []
    del editor.producers[inner]
    before.outputs = outer
    editor.producers[outer[0]] = before


def _merge_compactor(editor: GraphEditor, compactor: Node) -> bool:
    """Multiplies a compactor of ResRep into the convolution before it, if linear and without other consumers."""
    before = editor.producers.get(compactor.inputs[0])
    if before is None or before.kind not in CONVOLUTIONS or before.config["groups"] > 1:
        return False
    alone = editor.uses(compactor.inputs[0]) == 1 and editor.called_once(before) and editor.called_once(compactor)
    if not alone or before.config["activation"] != "linear":
        return False
    matrix = array(compactor.layer.kernel)
    kernel, bias = weights_of(before, "kernel", "bias")
    before.weights = {"kernel": kernel @ matrix, "bias": np.broadcast_to(bias, len(matrix)) @ matrix}
    before.changes["use_bias"] = True
    _move_output(editor, before, compactor)
    return True


def _reasons(editor: GraphEditor) -> dict[str, str]:
    return {node.name: _why_not(editor, node) for node in _norms(editor)}


def _log(name: str, norms: int, reasons: dict[str, str]) -> None:
    if norms:
        LOG.info("fuse %s: %d of %d batch norms folded", name, norms - len(reasons), norms)
    for norm, why in reasons.items():
        LOG.info("fuse %s: %s stays: %s", name, norm, why)
