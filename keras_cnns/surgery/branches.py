"""Parallel linear branches that meet in an addition become one convolution.

A branch is a convolution (with its zero padding), a batch norm, or the bare input. With d the dilation and p the
padding before the first row, tap k of a kernel reads row `o * stride - p + d * k` for output row o; so a kernel of
padding p sits in one of padding P at the taps from (P - p) / d on, and sums of kernels are sums of branches.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers as stock

from keras_cnns.graph import At
from keras_cnns.surgery.draft import Draft, Step
from keras_cnns.surgery.linear import CONVOLUTIONS, NORMS, scale_and_shift, scaled, weights_of

MERGED = (*CONVOLUTIONS, stock.DepthwiseConv2D)
Pads = tuple[tuple[int, int], tuple[int, int]]  # (before, after) in rows, and in columns


@dataclass(eq=False)
class Branch:
    """A linear way from `source` to the addition. `step` is None for the bare input."""

    source: int
    step: Step | None
    kernel: np.ndarray | None = None  # (kh, kw, channels / groups, filters); None: a scale per channel
    scale: np.ndarray | None = None
    bias: np.ndarray | float = 0.0
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pads: Pads = ((0, 0), (0, 0))
    dtype: str = ""

    @property
    def size(self) -> tuple[int, int]:
        return self.kernel.shape[:2]


def merge(draft: Draft) -> bool:
    """Merges what can be merged before every `Add`; says whether anything was."""
    found = False
    for add in [s for s in draft.steps() if s.kind is stock.Add]:
        while group := _group(draft, add):
            _replace(draft, add, group)
            found = True
            if draft.makers.get(add.outputs[0]) is not add:
                break
    return found


def _group(draft: Draft, add: Step) -> list[Branch]:
    """Two or more branches that can be one convolution, the widest first; empty if there are none."""
    branches = [_branch(draft, add, t) for t in add.inputs]
    wide = [b for b in branches if b.kernel is not None]
    for lead in sorted(wide, key=lambda b: -b.kernel.shape[0] * b.kernel.shape[1]):
        others = [b for b in branches if b is not lead and _fits(draft, b, lead)]
        if others:
            return [lead, *others]
    return []


def _branch(draft: Draft, add: Step, tensor: int) -> Branch:
    step = draft.makers.get(tensor)
    bare = Branch(tensor, None, scale=np.ones(draft.shapes[tensor][-1] or 0))
    if step is None or draft.uses(tensor) > 1 or not draft.called_once(step):
        return bare
    if step.kind in NORMS and step.layer.axis in (-1, 3) and not step.kwargs.get("training"):
        scale, shift = scale_and_shift(step)
        return Branch(step.inputs[0], step, scale=scale, bias=shift, dtype=step.layer.compute_dtype)
    convolution = step.kind in MERGED and scaled(step) is not None
    if not convolution or step.layer.activation is not keras.activations.linear:
        return bare
    config = step.config
    if config["data_format"] != "channels_last":
        return bare
    source, pads = _padding(draft, step, config)
    if pads is None:
        return bare
    kernel, bias = weights_of(step, "kernel", "bias")
    groups = config.get("groups", 1)
    if step.kind is stock.DepthwiseConv2D:
        groups = kernel.shape[2]
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    dilation = tuple(d if k > 1 else 1 for d, k in zip(config["dilation_rate"], kernel.shape, strict=False))
    strides, dtype = tuple(config["strides"]), step.layer.compute_dtype
    return Branch(source, step, kernel, None, bias, strides, dilation, groups, pads, dtype)


def _padding(draft: Draft, step: Step, config: dict) -> tuple[int, Pads | None]:
    """The tensor before the zero padding, and how much of it there is; None if that depends on the size."""
    x = step.inputs[0]
    before = draft.makers.get(x)
    if config["padding"] == "valid":
        if (
            before is not None
            and before.kind is stock.ZeroPadding2D
            and before.layer.data_format == "channels_last"
        ):
            return before.inputs[0], tuple(map(tuple, before.layer.padding))
        return x, ((0, 0), (0, 0))
    pads = []
    geometry = (draft.shapes[x][1:3], config["kernel_size"], config["strides"], config["dilation_rate"])
    for side, k, stride, dilation in zip(*geometry, strict=True):
        reach = (k - 1) * dilation
        if stride > 1 and reach:
            if side is None:
                return x, None
            reach = max((-(-side // stride) - 1) * stride + reach + 1 - side, 0)
        pads.append((reach // 2, reach - reach // 2))
    return x, tuple(pads)


def _fits(draft: Draft, branch: Branch, lead: Branch) -> bool:
    if branch.source != lead.source or branch.strides != lead.strides:
        return False
    if branch.step is not None and branch.dtype != lead.dtype:
        return False
    if any((p[0] - q[0]) % e for e, p, q in zip(lead.dilation, lead.pads, branch.pads, strict=True)):
        return False
    if branch.kernel is None:  # a group must have as many filters as channels: filter i then reads channel i
        return draft.shapes[lead.source][-1] == lead.kernel.shape[-1]
    if branch.kernel.shape[2:] != lead.kernel.shape[2:] or branch.groups != lead.groups:
        return False
    return all(k == 1 or d == e for k, d, e in zip(branch.size, branch.dilation, lead.dilation, strict=True))


def _replace(draft: Draft, add: Step, group: list[Branch]) -> None:
    lead = group[0]
    kernel, bias, pads = _sum(group, draft.shapes[lead.source][-1])
    own_pad = draft.makers.get(lead.step.inputs[0]) if lead.step.inputs[0] != lead.source else None
    step = Step(lead.step.layer, (At(lead.source),), {}, add.outputs, lead.step.kind, dict(lead.step.changes))
    depthwise = step.kind is stock.DepthwiseConv2D
    shape = (*kernel.shape[:2], lead.groups, -1) if depthwise else kernel.shape
    step.weights = {"kernel": kernel.reshape(shape), "bias": np.broadcast_to(bias, kernel.shape[-1:])}
    step.changes.update(use_bias=True, kernel_size=kernel.shape[:2], dilation_rate=lead.dilation, padding="valid")
    reach = [(k - 1) * d for k, d in zip(kernel.shape, lead.dilation, strict=False)]
    if pads == tuple((r // 2, r - r // 2) for r in reach) and max(lead.strides) == 1:
        step.changes["padding"] = "same"
    elif own_pad is not None and pads == lead.pads:
        step.args = (At(lead.step.inputs[0]),)
    elif pads != ((0, 0), (0, 0)):
        step.args = (At(_pad(draft, lead, pads)),)
    rest = list(add.inputs)
    for branch in group:
        rest.remove(branch.source if branch.step is None else branch.step.outputs[0])
    if rest:
        merged = draft.tensor(draft.shapes[add.outputs[0]])
        step.outputs = (merged,)
    draft.put(step)
    for t in add.inputs:
        draft.readers[t].remove(add)
    if rest:
        add.args, add.kwargs = ([At(t) for t in (merged, *rest)],), {}
        for t in (merged, *rest):
            draft.readers[t].append(add)
    for branch in group:
        if branch.step is not None and not draft.uses(branch.step.outputs[0]):
            draft.remove(branch.step)


def _pad(draft: Draft, lead: Branch, pads: Pads) -> int:
    n, h, w, c = draft.shapes[lead.source]
    shape = (n, h and h + sum(pads[0]), w and w + sum(pads[1]), c)
    name = draft.free_name(f"{lead.step.name}_pad")
    layer = stock.ZeroPadding2D(pads, data_format="channels_last", name=name, dtype=lead.step.layer.dtype_policy)
    return draft.chain(lead.source, layer, shape)


def _sum(group: list[Branch], channels: int) -> tuple[np.ndarray, np.ndarray, Pads]:
    """One kernel, one bias and one padding for all branches."""
    lead = group[0]
    wide = [b for b in group if b.kernel is not None]
    first = [max(b.pads[axis][0] for b in wide) for axis in (0, 1)]
    starts = [[(first[a] - b.pads[a][0]) // lead.dilation[a] for a in (0, 1)] for b in wide]
    sides = [max(s[a] + b.size[a] for s, b in zip(starts, wide, strict=True)) for a in (0, 1)]
    total = np.zeros((*sides, *lead.kernel.shape[2:]))
    for (row, column), b in zip(starts, wide, strict=True):
        total[row : row + b.size[0], column : column + b.size[1]] += b.kernel
    # What the kernel grew at its far end, the padding grows there too.
    last = [lead.pads[a][1] + lead.dilation[a] * (sides[a] - starts[0][a] - lead.size[a]) for a in (0, 1)]
    filters = np.arange(total.shape[-1])
    for b in group:
        if b.kernel is None:  # tap (first / dilation) reads the pixel itself
            row, column = (first[a] // lead.dilation[a] for a in (0, 1))
            total[row, column, filters % (channels // lead.groups), filters] += b.scale
    return total, sum(b.bias for b in group), ((first[0], last[0]), (first[1], last[1]))
