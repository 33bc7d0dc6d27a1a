"""Ding et al. (2021): ResRep, Lossless CNN Pruning via Decoupling Remembering and Forgetting. arXiv 2007.03260.

Behind the norm of each convolution whose filters can go stands a compactor, a 1x1 convolution that starts as the
identity. In training the network remembers and the compactors forget: a lasso shortens their rows, and rows that a
mask has chosen no longer hear the loss. Rows that have come to zero are deleted, and the rest of the compactor
goes into the convolution before it: a network with the same layers and fewer filters.

The filters are found by following the graph (`surgery.filters`), so this works on any network of the zoo with
convolutions that one other convolution reads: residual networks, basic and bottleneck, and VGG. Not with groups.
`compacted` and `narrowed` do not reach into a head that convolves (NIN, fully convolutional networks); what takes
a model does.
"""

from collections.abc import Mapping
from dataclasses import fields

import keras
import numpy as np

from keras_cnns.architecture import Architecture
from keras_cnns.layers import Compactor
from keras_cnns.surgery.draft import Draft
from keras_cnns.surgery.filters import Costs, Narrow, compact, compactor_of, mix, pick, places, unread
from keras_cnns.surgery.linear import array
from keras_cnns.surgery.operated import Operated
from keras_cnns.values import by_name

PAPER = (
    "Ding et al. 2021, ResRep: Lossless CNN Pruning via Decoupling Remembering and Forgetting, arXiv 2007.03260"
)
ZERO = 1e-5  # norm of a row that is nothing
TWICE = "{} has compactors already: prune the network they were put into, or what is left when they are converted"

Lengths = Mapping[str, np.ndarray]  # by the name of the convolution: norms of the rows
Kept = dict[str, np.ndarray]  # by the name of the convolution: indices of the channels that stay


# --- as architectures, which can be rebuilt from JSON -----------------------------------------------------------


def compacted(architecture: Architecture) -> Architecture:
    """The architecture with compactors: the form that trains.

    Raises:
        ValueError: it has compactors already.

    >>> import keras_cnns
    >>> model = compacted(keras_cnns.ResNet20)()
    >>> sum(isinstance(layer, Compactor) for layer in model.layers)
    9
    """
    if is_compacted(architecture):
        raise ValueError(TWICE.format(architecture.name))
    return _operated(architecture, "compactors", compact)


def is_compacted(architecture: Architecture) -> bool:
    """Whether it is what `compacted` gives."""
    return isinstance(architecture.row, Operated) and architecture.row.edit is compact


def narrowed(architecture: Architecture, widths: Mapping[str, int]) -> Architecture:
    """The architecture with so many filters in those convolutions: the form that is left.

    >>> import keras_cnns
    >>> narrowed(keras_cnns.ResNet20, {"stage1_unit1_conv1": 5})().get_layer("stage1_unit1_conv1").filters
    5
    """
    return _operated(architecture, "pruned", Narrow(tuple(widths.items())))


def _operated(a: Architecture, what: str, edit) -> Architecture:
    values = {f.name: getattr(a, f.name) for f in fields(Architecture)}  # GoogLeNet's without its training heads
    row = Operated(a.row, edit)
    citation = f"{a.citation.rstrip('.')}; {what} of {PAPER}."
    return Architecture(**values | {"name": f"{a.name}_{what}", "row": row, "citation": citation})


# --- as models --------------------------------------------------------------------------------------------------


def with_compactors(model: keras.Model) -> keras.Model:
    """A copy of a model with compactors behind all convolutions whose filters can go; the same outputs.

    Raises:
        ValueError: it has no such convolution, or compactors already.

    >>> import keras_cnns
    >>> model = with_compactors(keras_cnns.ResNet20())
    >>> model.get_layer("stage3_unit1_conv1_compactor").count_params()
    4160
    """
    check(model)
    draft = Draft(model)
    compact(draft)
    return draft.build()


def check(model: keras.Model) -> None:
    """Raises ValueError for a model of which no filters can be taken out, or that is in the middle of it."""
    if any(isinstance(layer, Compactor) for layer in model.layers):
        raise ValueError(TWICE.format(model.name))
    if not any(places(Draft(model))):
        raise ValueError(
            f"{model.name} has no convolution that one other convolution alone reads: nothing in it can be pruned "
            "(nothing grouped can, nor what meets a shortcut or a branch)"
        )


def lengths(model: keras.Model) -> Lengths:
    """Norm of every row of every compactor, by the name of the convolution before it."""
    return {p.name: length(model.get_layer(compactor_of(p.name))) for p in places(Draft(model))}


def length(compactor: Compactor) -> np.ndarray:
    """Norm of every row of a compactor."""
    return np.linalg.norm(array(compactor.kernel), axis=0)


def choose(rows: Lengths, costs: Costs, target: int, most: int) -> Kept:
    """The channels to keep so that the MACs are at most `target`: the shortest rows of all layers go first.

    Starts from the whole network every time, so that a row which has grown again is released.

    Args:
        most: how many rows may go.
    """
    gone: dict[str, set[int]] = {name: set() for name in rows}
    kept = {name: len(row) for name, row in rows.items()}
    order = sorted((length, name, i) for name, row in rows.items() for i, length in enumerate(row))
    for _, name, i in order:
        if most == 0 or costs(kept) <= target:
            break
        if kept[name] > 1:  # a layer keeps one channel at least
            gone[name].add(i)
            kept[name] -= 1
            most -= 1
    return {name: np.array([i for i in range(len(row)) if i not in gone[name]]) for name, row in rows.items()}


def converted(model: keras.Model, kept: Kept | None = None) -> keras.Model:
    """The smaller model: compactors put into the convolutions before them, channels that are nothing deleted.

    Args:
        kept: the channels that stay, by convolution; by default those whose rows are longer than 1e-5, and the
            longest in any case. Deleting channels whose rows are exactly zero changes nothing.
    """
    draft = Draft(model)
    rows = lengths(model)
    for place in list(places(draft)):
        compactor = next(s for s in draft.steps() if s.name == compactor_of(place.name))
        keep = alive(rows[place.name]) if kept is None else kept[place.name]
        mix(place, array(compactor.layer.kernel)[:, keep])
        draft.skip(compactor)
        unread(place, keep)
    return draft.build()


def alive(row: np.ndarray) -> np.ndarray:
    """Indices of the channels whose rows are something; the longest in any case.

    >>> alive(np.array([0.5, 1e-7, 0.0])), alive(np.zeros(2))
    (array([0]), array([0]))
    """
    longest = np.arange(len(row)) == np.argmax(row)
    return np.flatnonzero((row >= ZERO) | longest)


# --- the older way, to compare with -----------------------------------------------------------------------------


def by_magnitude(model: keras.Model, keep: float) -> tuple[keras.Model, Kept]:
    """Filters of small weights go at once (Li et al. 2017, Pruning Filters for Efficient ConvNets, 1608.08710).

    The same share of every convolution's filters goes, those with the least sums of absolute weights, so that at
    most `keep` of the MACs are left. What is left should then be trained on.

    Raises:
        ValueError: nothing in it, or not so much, can be pruned.

    >>> import keras_cnns
    >>> from keras_cnns import measure
    >>> whole = keras_cnns.ResNet20()
    >>> small, kept = by_magnitude(whole, 0.5)
    >>> 0.47 < measure(small).macs / measure(whole).macs <= 0.5
    True
    """
    check(model)
    draft, costs = Draft(model), Costs(model)
    found = list(places(draft))
    if least(costs) > keep:
        raise ValueError(f"at least {least(costs):.3f} of the MACs of {model.name} stay; keep={keep:g} came")
    share = max(_shares(costs, keep * costs.full), default=0.0)
    kept = {}
    for place in found:
        weight = np.abs(array(place.conv.layer.kernel)).sum(axis=(0, 1, 2))
        count = _count(share, place.filters)
        kept[place.name] = np.sort(np.argsort(-weight, kind="stable")[:count])
        pick(place, kept[place.name])
        unread(place, kept[place.name])
    return draft.build(), kept


def _shares(costs: Costs, target: float) -> list[float]:
    """Shares of filters, in steps of a thousandth, that meet the target."""
    steps = [i / 1000 for i in range(1, 1001)]
    return [s for s in steps if costs({name: _count(s, n) for name, n in costs.filters.items()}) <= target]


def _count(share: float, filters: int) -> int:
    return max(1, round(share * filters))


def widths(kept: Kept) -> dict[str, int]:
    """How many filters stay, by convolution."""
    return {name: len(indices) for name, indices in kept.items()}


def least(costs: Costs) -> float:
    """The smallest share of the MACs that can be left: one filter at every place."""
    return costs(dict.fromkeys(costs.filters, 1)) / costs.full


PARTS = by_name((Narrow, compact))
