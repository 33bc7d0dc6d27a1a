"""The inference form of a model: batch norms folded, parallel branches merged, training-only layers gone.

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
from keras_cnns.surgery.draft import Draft, Step
from keras_cnns.surgery.linear import CONVOLUTIONS, NORMS, array, scale_and_shift, scaled, weights_of
from keras_cnns.surgery.stock import where_as_fast

LOG = logging.getLogger("keras_cnns")

# Layers that do nothing at inference. A layer of our own says so by `training_only = True`.
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

    - A batch norm goes into the convolution or dense layer before it, if nobody else reads that layer's output.
    - Linear branches of one input that meet in an `Add` (convolutions of one stride and grouping, batch norms, the
      input itself) become one convolution.
    - A compactor of ResRep goes into the convolution before it.
    - Dropout and noise are left out.
    - What can be said with stock Keras layers as fast is; `stock_layers` says the rest with them, too.

    Works on any functional or Sequential model, trained or not; the original stays as it is. Layers that survive
    keep their names, inputs and outputs keep theirs. Nested models are laid open. A layer that is called more
    than once, or called with `training=True`, keeps its batch norm or dropout. Fusing twice changes nothing.

    What stays unfolded, and why, goes to the log; `unfoldable` gives it as a dictionary.

    Example:

    >>> import keras_cnns
    >>> model = keras_cnns.ResNet20()
    >>> fused = keras_cnns.fuse(model)
    >>> sum("norm" in layer.name for layer in fused.layers)
    0
    """
    draft = Draft(model)
    norms = len(_norms(draft))
    _fuse(draft)
    _tell(model.name, norms, _reasons(draft))
    where_as_fast(draft)
    return draft.build()


def unfoldable(model: keras.Model) -> dict[str, str]:
    """The batch norms that `fuse` has to keep, by layer name, and why. Builds nothing.

    >>> import keras_cnns
    >>> unfoldable(keras_cnns.WRN16_4())["stage1_unit2_preact_norm"]
    'pre-activation: it reads stage1_unit1_add (Add)'
    """
    draft = Draft(model)
    _fuse(draft)
    return _reasons(draft)


def _fuse(draft: Draft) -> None:
    for step in list(draft.steps()):
        idle = isinstance(step.layer, TRAINING_ONLY) or getattr(step.layer, "training_only", False)
        if idle and not _trains(step):
            draft.skip(step)
    changed = True
    while changed:  # a merged convolution may have a batch norm behind it
        for step in _norms(draft):
            if _why_not(draft, step) is None:
                _fold(draft, step)
        mixed = [_mixed_in(draft, step) for step in list(draft.steps()) if step.kind is Compactor]
        changed = merge(draft) or any(mixed)


def _norms(draft: Draft) -> list[Step]:
    return [s for s in draft.steps() if s.kind in NORMS]


def _trains(step: Step) -> bool:
    """Whether the call asks for training mode whatever the model does (Monte Carlo dropout, for one)."""
    return bool(step.kwargs.get("training")) or any(a is True for a in step.args[1:])


def _why_not(draft: Draft, norm: Step) -> str | None:
    """Why a batch norm cannot go into the layer before it; None if it can."""
    if _trains(norm):
        return "it is called with training=True"
    if not draft.called_once(norm):
        return "it is called more than once"
    before = draft.makers.get(norm.inputs[0])
    if before is None:
        return "pre-activation: it reads the input of the model"
    who = f"{before.name} ({before.kind.__name__})"
    if scaled(before) is None:
        return f"pre-activation: it reads {who}"
    if before.layer.activation is not keras.activations.linear:
        return f"{who} before it has an activation of its own"
    if not draft.called_once(before):
        return f"{who} before it is called more than once"
    if draft.uses(norm.inputs[0]) > 1:
        return f"{who} before it is read elsewhere too"
    if before.layer.compute_dtype != norm.layer.compute_dtype:
        return f"{who} before it works in {before.layer.compute_dtype}"
    axis, rank = norm.layer.axis, len(draft.shapes[norm.inputs[0]])
    channels = 1 if getattr(before.layer, "data_format", None) == "channels_first" else rank - 1
    if axis % rank != channels:
        return f"it normalises axis {axis}, which is not the channels of {who}"
    return None


def _fold(draft: Draft, norm: Step) -> None:
    before = draft.makers[norm.inputs[0]]
    before.weights = scaled(before)(*scale_and_shift(norm))
    before.changes["use_bias"] = True
    _takes_over(draft, before, norm)


def _takes_over(draft: Draft, before: Step, step: Step) -> None:
    """`before` makes what `step`, its only reader, made."""
    inner, outer = before.outputs[0], step.outputs
    draft.readers[inner] = []
    del draft.makers[inner]
    before.outputs = outer
    draft.makers[outer[0]] = before


def _mixed_in(draft: Draft, compactor: Step) -> bool:
    """Puts a compactor of ResRep into the convolution before it, if that is linear and nobody else reads it."""
    before = draft.makers.get(compactor.inputs[0])
    if before is None or before.kind not in CONVOLUTIONS or before.config["groups"] > 1:
        return False
    alone = draft.uses(compactor.inputs[0]) == 1 and draft.called_once(before) and draft.called_once(compactor)
    if not alone or before.config["activation"] != "linear":
        return False
    matrix = array(compactor.layer.kernel)
    kernel, bias = weights_of(before, "kernel", "bias")
    before.weights = {"kernel": kernel @ matrix, "bias": np.broadcast_to(bias, len(matrix)) @ matrix}
    before.changes["use_bias"] = True
    _takes_over(draft, before, compactor)
    return True


def _reasons(draft: Draft) -> dict[str, str]:
    return {step.name: _why_not(draft, step) for step in _norms(draft)}


def _tell(name: str, norms: int, reasons: dict[str, str]) -> None:
    if norms:
        LOG.info("fuse %s: %d of %d batch norms folded", name, norms - len(reasons), norms)
    for norm, why in reasons.items():
        LOG.info("fuse %s: %s stays: %s", name, norm, why)
