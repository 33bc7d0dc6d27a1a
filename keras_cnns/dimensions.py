"""The dimensions of an architecture by name (depth, width, cardinality, gate, ...), for searches.

Each dimension changes a copy of the architecture by `replace`. An architecture has only the dimensions that apply
to it: a ResNet has no radix.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from keras_cnns import blocks
from keras_cnns.architecture import Architecture
from keras_cnns.blocks import (
    AlwaysProjection,
    Basic,
    Bottleneck,
    Conv3x3,
    NormAfterAddition,
    PreActivationBasic,
    PreActivationBottleneck,
    Projection,
    ReluBeforeAddition,
    ReluPreActivation,
    SelectiveKernel,
    SplitAttention,
    SqueezeExcite,
    Staged,
    ZeroPad,
    no_gate,
    norm_relu,
)
from keras_cnns.spaces import Choice, Int
from keras_cnns.values import Value

BOTTLENECKS = (Bottleneck, PreActivationBottleneck)
ORDERS = {  # He et al. 2016, figure 4
    "a": Basic,
    "b": NormAfterAddition,
    "c": ReluBeforeAddition,
    "d": ReluPreActivation,
    "e": PreActivationBasic,
}
SHORTCUTS = {"A": ZeroPad(), "B": Projection(), "C": AlwaysProjection()}
BARE = {"Stem3x3": "StemConv3x3", "Stem7x7": "StemConv7x7"}  # stems for pre-activation units
BRANCHES = {  # (kernel, dilation) of each; 5d is a 3x3 of dilation 2 (Li et al. 2019)
    "3": ((3, 1),),
    "3+5d": ((3, 1), (3, 2)),
    "3+5": ((3, 1), (5, 1)),
    "3+5d+7d": ((3, 1), (3, 2), (3, 3)),
}
REDUCTIONS = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Dimension(Value):
    """A way to change an architecture.

    Attributes:
        name: command-line name.
        what: meaning of its values.
        domain: the usual values; others of the same type are possible.
        now: value of this architecture.
        put: (architecture, value) -> changed architecture.
    """

    name: str
    what: str
    domain: Any
    now: Any
    put: Callable


def dimensions(architecture: Architecture) -> dict[str, Dimension]:
    """The dimensions that an architecture has, by name.

    >>> from keras_cnns.models.resnext import ResNeXt29_8x64d
    >>> found = dimensions(ResNeXt29_8x64d)
    >>> {name: found[name].now for name in ("depth", "width", "cardinality")}
    {'depth': 3, 'width': 64, 'cardinality': 8}
    >>> found["cardinality"].put(ResNeXt29_8x64d, 16).row.unit.inner
    16.0
    """
    row = architecture.row
    if not isinstance(row, Staged) or any(isinstance(width, tuple) for width in row.widths):
        return {}
    found = [_depth(row), _width(row)]
    if isinstance(row.unit, Value):
        found += [make(row.unit) for make in (_cardinality, _spatial, _branches, _radix, _gate, _reduction)]
        found += [_order(row.unit), _shortcut(row.unit)]
    return {d.name: d for d in found if d}


# --- depth and width ------------------------------------------------------------------------------------------


def _depth(row: Staged) -> Dimension:
    now = row.depths[0]
    if len(set(row.depths)) == 1:
        return Dimension("depth", "units in a stage", Int(1, max(4, 2 * now)), now, set_depth)
    return Dimension("depth", "times the units of each stage", Choice((0.25, 0.5, 0.75, 1, 1.5)), 1, set_depth)


def set_depth(architecture: Architecture, value: float) -> Architecture:
    """Sets all stages to `value` units, or, where their depths differ, multiplies the depths by `value`."""
    depths = architecture.row.depths
    if len(set(depths)) == 1:
        if value != int(value):
            raise ValueError(f"the depth of {architecture.name} must be an integer, got {value}")
        depths = (int(value),) * len(depths)
    else:
        depths = tuple(max(1, round(d * value)) for d in depths)
    return replace(architecture, row=replace(architecture.row, depths=depths))


def _width(row: Staged) -> Dimension:
    now = width_of(row)
    near = sorted({max(1, round(now * by)) for by in (0.25, 0.5, 0.75, 1, 1.5, 2)})
    grouped = isinstance(row.unit, BOTTLENECKS)
    what = "channels of the first stage, in bottlenecks of one group of it"
    return Dimension("width", what, Choice(tuple(near)), now, set_group_width if grouped else set_width)


def width_of(row: Staged) -> int:
    """Channels of the first stage; in bottlenecks those of one group, the D of CxDd."""
    if not isinstance(row.unit, BOTTLENECKS):
        return row.widths[0]
    return round(row.unit.inner * row.widths[0] / cardinality_of(row.unit))


def set_width(architecture: Architecture, value: int) -> Architecture:
    """Sets the width of the first stage and scales the others, and the stem if as wide as the first stage."""
    row, stem = architecture.row, architecture.row.stem
    if getattr(stem, "filters", None) == row.widths[0]:
        stem = replace(stem, filters=value)
    widths = tuple(max(1, round(w * value / row.widths[0])) for w in row.widths)
    return replace(architecture, row=replace(row, widths=widths, stem=stem))


def set_group_width(architecture: Architecture, value: int) -> Architecture:
    """Sets the D of CxDd (Xie et al. 2016), the width of a group of the 3x3; output channels stay."""
    row = architecture.row
    return architecture.with_unit(inner=cardinality_of(row.unit) * value / row.widths[0])


# --- fields of the unit ---------------------------------------------------------------------------------------


def cardinality_of(unit: Value) -> int:
    """Groups in the sense of ResNeXt, the C of CxDd."""
    spatial = getattr(unit, "spatial", None)
    return getattr(spatial, "groups", getattr(spatial, "cardinality", 1))


def _cardinality(unit: Value) -> Dimension | None:
    if isinstance(unit, BOTTLENECKS):
        what, usual = "groups (paths) of a bottleneck, each as wide as before", Choice((1, 2, 4, 8, 16, 32))
        return Dimension("cardinality", what, usual, cardinality_of(unit), set_cardinality)


def set_cardinality(architecture: Architecture, value: int) -> Architecture:
    """Sets the number of groups; their width stays."""
    unit, width = architecture.row.unit, width_of(architecture.row)
    field = "groups" if hasattr(unit.spatial, "groups") else "cardinality"
    wider = architecture.with_unit(spatial=replace(unit.spatial, **{field: value}))
    return set_group_width(wider, width)


def _spatial(unit: Value) -> Dimension | None:
    kinds = {Conv3x3: "3x3", SelectiveKernel: "sk", SplitAttention: "split"}
    kind = kinds.get(type(getattr(unit, "spatial", None)))
    return kind and Dimension("spatial", "the 3x3's place", Choice(tuple(kinds.values())), kind, set_spatial)


def set_spatial(architecture: Architecture, value: str) -> Architecture:
    """Sets a 3x3, selective kernels (SKNet) or split attention (ResNeSt); the groups stay."""
    now = architecture.row.unit.spatial
    groups = cardinality_of(architecture.row.unit)
    plain = now if isinstance(now, Conv3x3) else Conv3x3(groups)
    plugs = {"3x3": plain, "sk": SelectiveKernel(groups=groups), "split": SplitAttention(cardinality=groups)}
    return architecture.with_unit(spatial=now if isinstance(now, type(plugs[value])) else plugs[value])


def _branches(unit: Value) -> Dimension | None:
    if isinstance(getattr(unit, "spatial", None), SelectiveKernel):
        now = next((name for name, b in BRANCHES.items() if b == unit.spatial.branches), "other")
        what = "kernels that are selected among; d: dilated 3x3"
        return Dimension("branches", what, Choice(tuple(BRANCHES)), now, set_branches)


def set_branches(architecture: Architecture, value: str) -> Architecture:
    """Sets the kernels of the branches."""
    return architecture.with_unit(spatial=replace(architecture.row.unit.spatial, branches=BRANCHES[value]))


def _radix(unit: Value) -> Dimension | None:
    if isinstance(getattr(unit, "spatial", None), SplitAttention):
        return Dimension("radix", "splits of each group", Choice((1, 2, 4)), unit.spatial.radix, set_radix)


def set_radix(architecture: Architecture, value: int) -> Architecture:
    """Sets the number of splits of split attention."""
    return architecture.with_unit(spatial=replace(architecture.row.unit.spatial, radix=value))


def _gate(unit: Value) -> Dimension | None:
    if hasattr(unit, "gate"):
        now = {no_gate: "none", SqueezeExcite(): "se"}.get(unit.gate, "other")
        return Dimension("gate", "behind each branch", Choice(("none", "se")), now, set_gate)


def set_gate(architecture: Architecture, value: str) -> Architecture:
    """Sets no gate, or squeeze and excitation."""
    now = architecture.row.unit.gate
    se = now if isinstance(now, SqueezeExcite) else SqueezeExcite()
    return architecture.with_unit(gate={"none": no_gate, "se": se}[value])


def _reduction(unit: Value) -> Dimension | None:
    part = next(
        (p for p in (getattr(unit, s, None) for s in ("gate", "spatial")) if hasattr(p, "reduction")), None
    )
    what = "how many times narrower the gate or attention is inside"
    return part and Dimension("reduction", what, Choice(REDUCTIONS), part.reduction, set_reduction)


def set_reduction(architecture: Architecture, value: int) -> Architecture:
    """Sets the reduction of the gate, or of the attention if there is no gate; without both nothing changes."""
    unit = architecture.row.unit
    socket = next((s for s in ("gate", "spatial") if hasattr(getattr(unit, s, None), "reduction")), None)
    return (
        architecture.with_unit(**{socket: replace(getattr(unit, socket), reduction=value)})
        if socket
        else architecture
    )


def _order(unit: Value) -> Dimension | None:
    now = next((name for name, kind in ORDERS.items() if type(unit) is kind), None)
    what = "of norm, ReLU and addition: (a) to (e) of He et al. 2016, figure 4"
    return now and Dimension("order", what, Choice(tuple(ORDERS)), now, set_order)


def set_order(architecture: Architecture, value: str) -> Architecture:
    """Sets the order of the same layers; (e) has a stem without norm, and a norm and ReLU at the end."""
    row = architecture.row
    unit = ORDERS[value](row.unit.spatial, row.unit.gate, row.unit.shortcut)
    first = value == "e"
    stems = BARE if first else {bare: stem for stem, bare in BARE.items()}
    stem = stems.get(type(row.stem).__name__)
    stem = getattr(blocks, stem)(row.stem.filters) if stem else row.stem
    finish = norm_relu if first else blocks.nothing if row.finish is norm_relu else row.finish
    return replace(architecture, row=replace(row, unit=unit, stem=stem, finish=finish))


def _shortcut(unit: Value) -> Dimension | None:
    now = next((name for name, part in SHORTCUTS.items() if getattr(unit, "shortcut", None) == part), None)
    what = "option A, B or C of He et al. 2015, section 4.1"
    return now and Dimension("shortcut", what, Choice(tuple(SHORTCUTS)), now, set_shortcut)


def set_shortcut(architecture: Architecture, value: str) -> Architecture:
    """Sets zero padding, projections where the shape changes, or projections everywhere."""
    return architecture.with_unit(shortcut=SHORTCUTS[value])
