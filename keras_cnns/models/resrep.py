"""Ding et al. (2021): ResRep, Lossless CNN Pruning via Decoupling Remembering and Forgetting. arXiv 2007.03260.

Each prunable convolution gets a compactor after its norm, a 1x1 convolution that starts as the identity. Training
updates the network as usual ("remembering") and drives compactor rows to zero ("forgetting"): a lasso shortens all
rows, and masked rows get no gradient of the loss. Rows that reach zero are deleted, and the rest of the compactor
is multiplied into the convolution before it. The result has the same layers and fewer filters.

The filters are found in the graph (`surgery.filters`), so this works on every network of the zoo in which one
convolution reads another: residual networks, basic and bottleneck, and VGG. Not with groups. `compacted` and
`narrowed` leave the convolutions of a head (NIN, fully convolutional networks) alone; functions of a model do not.
"""

from collections.abc import Mapping
from dataclasses import fields

import keras
import numpy as np

from keras_cnns.architecture import Architecture
from keras_cnns.layers import Compactor
from keras_cnns.surgery.edited_row import EditedRow
from keras_cnns.surgery.filters import (
    Costs,
    Narrow,
    compact,
    compactor_of,
    find_prunable,
    keep_filters,
    keep_inputs,
    mix_channels,
)
from keras_cnns.surgery.graph_editor import GraphEditor
from keras_cnns.surgery.linear import array
from keras_cnns.values import by_name

PAPER = (
    "Ding et al. 2021, ResRep: Lossless CNN Pruning via Decoupling Remembering and Forgetting, arXiv 2007.03260"
)
ZERO = 1e-5  # a row with a smaller norm counts as zero
TWICE = "{} has compactors already: prune the network without them, or the result of converting them"

Lengths = Mapping[str, np.ndarray]  # by the name of the convolution: norms of the rows
Kept = dict[str, np.ndarray]  # by the name of the convolution: indices of the channels that stay


# --- architectures, which can be rebuilt from JSON --------------------------------------------------------------


def compacted(architecture: Architecture) -> Architecture:
    """The architecture with compactors: the training form.

    Raises:
        ValueError: it has compactors already.

    >>> import keras_cnns
    >>> model = compacted(keras_cnns.ResNet20)()
    >>> sum(isinstance(layer, Compactor) for layer in model.layers)
    9
    """
    if is_compacted(architecture):
        raise ValueError(TWICE.format(architecture.name))
    return _edited(architecture, "compactors", compact)


def is_compacted(architecture: Architecture) -> bool:
    """True for a result of `compacted`."""
    return isinstance(architecture.row, EditedRow) and architecture.row.edit is compact


def narrowed(architecture: Architecture, widths: Mapping[str, int]) -> Architecture:
    """The architecture with the given numbers of filters, by convolution: the pruned form.

    >>> import keras_cnns
    >>> narrowed(keras_cnns.ResNet20, {"stage1_unit1_conv1": 5})().get_layer("stage1_unit1_conv1").filters
    5
    """
    return _edited(architecture, "pruned", Narrow(tuple(widths.items())))


def _edited(a: Architecture, what: str, edit) -> Architecture:
    values = {f.name: getattr(a, f.name) for f in fields(Architecture)}  # GoogLeNet's without its training heads
    row = EditedRow(a.row, edit)
    citation = f"{a.citation.rstrip('.')}; {what} of {PAPER}."
    return Architecture(**values | {"name": f"{a.name}_{what}", "row": row, "citation": citation})


# --- models -----------------------------------------------------------------------------------------------------


def with_compactors(model: keras.Model) -> keras.Model:
    """A copy of a model with a compactor after every prunable convolution; its outputs are the same.

    Raises:
        ValueError: it has no such convolution, or compactors already.

    >>> import keras_cnns
    >>> model = with_compactors(keras_cnns.ResNet20())
    >>> model.get_layer("stage3_unit1_conv1_compactor").count_params()
    4160
    """
    check(model)
    editor = GraphEditor(model)
    compact(editor)
    return editor.build()


def check(model: keras.Model) -> None:
    """Raises ValueError for a model without prunable convolutions, or with compactors."""
    if any(isinstance(layer, Compactor) for layer in model.layers):
        raise ValueError(TWICE.format(model.name))
    if not any(find_prunable(GraphEditor(model))):
        raise ValueError(
            f"{model.name} cannot be pruned: no output of a convolution goes to one other convolution only "
            "(grouped convolutions, and those added to a shortcut or a branch, cannot be pruned)"
        )


def lengths(model: keras.Model) -> Lengths:
    """Norm of every row of every compactor, by the name of the convolution before it."""
    return {p.name: length(model.get_layer(compactor_of(p.name))) for p in find_prunable(GraphEditor(model))}


def length(compactor: Compactor) -> np.ndarray:
    """Norm of every row of a compactor."""
    return np.linalg.norm(array(compactor.kernel), axis=0)


def choose(rows: Lengths, costs: Costs, target: int, most: int) -> Kept:
    """The channels to keep for at most `target` MACs: the shortest rows of all layers are removed first.

    Every call starts from the whole network, so a row that has grown again is kept again.

    Args:
        most: the largest number of rows to remove.
    """
    gone: dict[str, set[int]] = {name: set() for name in rows}
    kept = {name: len(row) for name, row in rows.items()}
    order = sorted((length, name, i) for name, row in rows.items() for i, length in enumerate(row))
    for _, name, i in order:
        if most == 0 or costs(kept) <= target:
            break
        if kept[name] > 1:  # a layer keeps at least one channel
            gone[name].add(i)
            kept[name] -= 1
            most -= 1
    return {name: np.array([i for i in range(len(row)) if i not in gone[name]]) for name, row in rows.items()}


def converted(model: keras.Model, kept: Kept | None = None) -> keras.Model:
    """The pruned model: compactors are multiplied into the convolutions before them, zero channels are deleted.

    Args:
        kept: the channels that stay, by convolution; by default those whose rows are longer than 1e-5, and always
            the longest. Deleting channels whose rows are exactly zero changes nothing.
    """
    editor = GraphEditor(model)
    rows = lengths(model)
    for prunable in list(find_prunable(editor)):
        compactor = next(s for s in editor.nodes() if s.name == compactor_of(prunable.name))
        keep = alive(rows[prunable.name]) if kept is None else kept[prunable.name]
        mix_channels(prunable, array(compactor.layer.kernel)[:, keep])
        editor.bypass(compactor)
        keep_inputs(prunable, keep)
    return editor.build()


def alive(row: np.ndarray) -> np.ndarray:
    """Indices of the channels whose rows are not zero; always with the longest.

    >>> alive(np.array([0.5, 1e-7, 0.0])), alive(np.zeros(2))
    (array([0]), array([0]))
    """
    longest = np.arange(len(row)) == np.argmax(row)
    return np.flatnonzero((row >= ZERO) | longest)


# --- magnitude pruning, the baseline ----------------------------------------------------------------------------


def by_magnitude(model: keras.Model, keep: float) -> tuple[keras.Model, Kept]:
    """Removes filters of small weights (Li et al. 2017, Pruning Filters for Efficient ConvNets, 1608.08710).

    Removes the same fraction of every convolution's filters, those with the smallest sums of absolute weights, so
    that at most `keep` of the MACs are left. Train the result afterwards.

    Raises:
        ValueError: the model cannot be pruned, or not by so much.

    >>> import keras_cnns
    >>> from keras_cnns import measure
    >>> whole = keras_cnns.ResNet20()
    >>> small, kept = by_magnitude(whole, 0.5)
    >>> 0.47 < measure(small).macs / measure(whole).macs <= 0.5
    True
    """
    check(model)
    editor, costs = GraphEditor(model), Costs(model)
    found = list(find_prunable(editor))
    if least(costs) > keep:
        raise ValueError(f"keep must be at least {least(costs):.3f} of the MACs of {model.name}, got {keep:g}")
    share = max(_shares(costs, keep * costs.full), default=0.0)
    kept = {}
    for prunable in found:
        weight = np.abs(array(prunable.conv.layer.kernel)).sum(axis=(0, 1, 2))
        count = _count(share, prunable.filters)
        kept[prunable.name] = np.sort(np.argsort(-weight, kind="stable")[:count])
        keep_filters(prunable, kept[prunable.name])
        keep_inputs(prunable, kept[prunable.name])
    return editor.build(), kept


def _shares(costs: Costs, target: float) -> list[float]:
    """Fractions of filters, in steps of 0.001, that meet the target."""
    steps = [i / 1000 for i in range(1, 1001)]
    return [s for s in steps if costs({name: _count(s, n) for name, n in costs.filters.items()}) <= target]


def _count(share: float, filters: int) -> int:
    return max(1, round(share * filters))


def widths(kept: Kept) -> dict[str, int]:
    """The number of filters that stay, by convolution."""
    return {name: len(indices) for name, indices in kept.items()}


def least(costs: Costs) -> float:
    """The smallest share of the MACs that can be left: one filter in every prunable convolution."""
    return costs(dict.fromkeys(costs.filters, 1)) / costs.full


PARTS = by_name((Narrow, compact))
