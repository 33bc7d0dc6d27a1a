"""Filters that can be taken out of a network, found by following its graph, and how to take them out.

The filters of a convolution can go if one other convolution, and nothing else, reads what becomes of them: through
its batch norm, activations that keep zero at zero, padding and pooling. In a residual network these are the first
convolution of a basic unit and the first two of a bottleneck, in VGG all but the last; what is added to a shortcut
has to stay. So has what a gate is made of, behind a global pooling: it costs next to nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers as stock

from keras_cnns import layers as ours
from keras_cnns.graph import At
from keras_cnns.measure import measure
from keras_cnns.surgery.draft import Draft, Step
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

# What leaves a channel of zeros a channel of zeros and does not mix channels.
PASSING = (*CHANNELWISE, stock.SpatialDropout2D, ours.CeilMaxPooling2D)
ACTIVATIONS = ("linear", "relu", "relu6", "leaky_relu", "tanh", "silu", "gelu", "elu")


@dataclass(frozen=True)
class Place:
    """A convolution whose filters can go: it, its norm or None, and the convolution that reads them."""

    conv: Step
    norm: Step | None
    reader: Step

    @property
    def name(self) -> str:
        return self.conv.name

    @property
    def filters(self) -> int:
        return self.conv.config["filters"]

    @property
    def last(self) -> Step:
        """The step behind which the channels are as they will be read."""
        return self.norm or self.conv


def places(draft: Draft) -> Iterator[Place]:
    """Every convolution of a draft whose filters can go, in the order of the graph."""
    for step in list(draft.steps()):
        if not _is_free(draft, step) or step.config["activation"] != "linear":
            continue
        if _is_pooled(draft, step.inputs[0]):
            continue
        norm = _norm_behind(draft, step)
        reader = _reader(draft, (norm or step).outputs[0])
        if reader is not None:
            yield Place(step, norm, reader)


def _is_free(draft: Draft, step: Step) -> bool:
    plain = step.kind in CONVOLUTIONS and step.config["groups"] == 1
    return plain and step.config["data_format"] == "channels_last" and draft.called_once(step)


def _is_pooled(draft: Draft, tensor: int) -> bool:
    """Whether it is the mean of a map, or a sum of such: what a gate looks at."""
    if tensor not in draft.makers:
        return False
    maker = draft.makers[tensor]
    return maker.kind in GLOBAL_POOLING or (
        maker.kind is stock.Add and all(_is_pooled(draft, t) for t in maker.inputs)
    )


def _norm_behind(draft: Draft, step: Step) -> Step | None:
    (out,) = step.outputs
    if draft.uses(out) != 1 or not draft.readers[out]:
        return None
    (reader,) = draft.readers[out]
    return reader if reader.kind in NORMS and draft.called_once(reader) else None


def _reader(draft: Draft, tensor: int) -> Step | None:
    """The convolution that alone reads a tensor, through what passes channels on; None if anything else does."""
    while draft.uses(tensor) == 1 and draft.readers[tensor]:
        (step,) = draft.readers[tensor]
        if _is_free(draft, step):
            return step
        if not _passes(step):
            return None
        (tensor,) = step.outputs
    return None


def _passes(step: Step) -> bool:
    if step.kind is stock.Activation:
        return step.layer.get_config()["activation"] in ACTIVATIONS
    return step.kind in PASSING or step.kind is ours.Compactor


# --- edits of a draft, which `Operated` takes -------------------------------------------------------------------


def compact(draft: Draft) -> None:
    """Puts a compactor behind every place: behind the norm, before the activation."""
    for place in list(places(draft)):
        (behind,) = place.last.outputs
        after = draft.tensor(draft.shapes[behind])
        draft.redirect(behind, after)
        layer = ours.Compactor(name=compactor_of(place.name), dtype=place.conv.layer.dtype_policy.name)
        draft.put(Step(layer, (At(behind),), {}, (after,)))


def compactor_of(conv: str) -> str:
    """Name of the compactor of a convolution.

    >>> compactor_of("stage1_unit1_conv1")
    'stage1_unit1_conv1_compactor'
    """
    return f"{conv}_compactor"


@dataclass(frozen=True)
class Narrow(Value):
    """Convolutions with fewer filters: pairs of name and number. What reads them narrows with them.

    Raises:
        ValueError: when applied to a graph where one of the convolutions does not exist or must keep its filters.
    """

    widths: tuple[tuple[str, Count], ...]

    def __call__(self, draft: Draft) -> None:
        found = {place.name: place for place in places(draft)}
        for name, filters in self.widths:
            if name not in found:
                raise ValueError(f"{name!r} is no convolution that may have fewer filters")
            if filters > found[name].filters:
                raise ValueError(f"{name} has {found[name].filters} filters; {filters} came")
            found[name].conv.changes["filters"] = filters


# --- taking filters out of a trained model ----------------------------------------------------------------------


def mix(place: Place, matrix: np.ndarray) -> None:
    """The place's channels become `channels @ matrix`, (filters, fewer); the reader still reads the old ones.

    The norm's scale goes into the kernel, and a norm of the mixed channels takes its place, so that the network
    has the same layers as before. Its moving mean is exact; its moving variance is that of channels that do not
    vary together, and its gamma undoes that, so at inference nothing changes.
    """
    kernel, bias = weights_of(place.conv, "kernel", "bias")
    if place.norm is None:
        place.conv.weights = {"kernel": kernel @ matrix}
        if place.conv.config["use_bias"]:
            place.conv.weights["bias"] = bias @ matrix
        place.conv.changes["filters"] = matrix.shape[1]
        return
    scale, shift = scale_and_shift(place.norm)
    layer = place.norm.layer
    mean = (scale * (array(layer.moving_mean) - bias)) @ matrix
    variance = (scale**2 * array(layer.moving_variance)) @ matrix**2
    place.conv.weights = {"kernel": (kernel * scale) @ matrix}
    if place.conv.config["use_bias"]:
        place.conv.weights["bias"] = np.zeros(matrix.shape[1])
    place.conv.changes["filters"] = matrix.shape[1]
    place.norm.changes.update(center=True, scale=True)
    place.norm.weights = {
        "gamma": np.sqrt(variance + layer.epsilon),
        "beta": (bias * scale + shift) @ matrix + mean,
        "moving_mean": mean,
        "moving_variance": variance,
    }


def pick(place: Place, kept: np.ndarray) -> None:
    """Some of the place's filters, by index, with their norms as they are; the reader still reads all of them."""
    kernel, bias = weights_of(place.conv, "kernel", "bias")
    place.conv.weights = {"kernel": kernel[..., kept]}
    if place.conv.config["use_bias"]:
        place.conv.weights["bias"] = bias[kept]
    place.conv.changes["filters"] = len(kept)
    if place.norm is not None:
        layer = place.norm.layer
        place.norm.weights = {w.name: keras.ops.convert_to_numpy(w)[kept] for w in layer.weights}


def unread(place: Place, kept: np.ndarray) -> None:
    """The reader reads the kept channels only."""
    reader = place.reader
    kernel, bias = weights_of(reader, "kernel", "bias")
    reader.weights = {"kernel": kernel[:, :, kept], **({"bias": bias} if reader.config["use_bias"] else {})}


# --- what it costs ----------------------------------------------------------------------------------------------


class Costs:
    """Multiply-accumulates of a model, for one image, by how many filters its places keep.

    Compactors are not counted: they go into the convolutions before them.

    Args:
        input_shape: (height, width, channels), where the model leaves it open.
    """

    def __init__(self, model: keras.Model, input_shape=None):
        draft = Draft(model)
        self.filters = {place.name: place.filters for place in places(draft)}
        reads = {place.reader.name: place.name for place in places(draft)}
        rows = [r for r in measure(model, input_shape).layers if r.macs and r.kind != ours.Compactor.__name__]
        self.rows = [(r.macs, r.name if r.name in self.filters else None, reads.get(r.name)) for r in rows]

    def __call__(self, kept: dict[str, int]) -> int:
        """MACs with so many filters at each place."""
        total = 0
        for macs, out, into in self.rows:
            for place in (out, into):
                if place is not None:
                    macs = macs * kept[place] // self.filters[place]
            total += macs
        return total

    @property
    def full(self) -> int:
        """MACs with all filters."""
        return self(self.filters)
