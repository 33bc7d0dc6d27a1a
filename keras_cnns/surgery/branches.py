"""Merges parallel linear branches that meet in an addition into one convolution.

A branch is a convolution (with its zero padding), a batch norm, or the input itself. With dilation d and padding p
before the first row, tap k of a kernel reads row `o * stride - p + d * k` for output row o. So a kernel of padding
p fits into one of padding P starting at tap (P - p) / d, and the sum of the kernels gives the sum of the branches.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers as stock

from keras_cnns.graph import TensorRef
from keras_cnns.surgery.graph_editor import GraphEditor, Node
from keras_cnns.surgery.linear import CONVOLUTIONS, NORMS, scale_and_shift, scaled, weights_of

MERGED = (*CONVOLUTIONS, stock.DepthwiseConv2D)
Pads = tuple[tuple[int, int], tuple[int, int]]  # (before, after) in rows, and in columns


@dataclass(eq=False)
class Branch:
    """A linear path from `source` to the addition. `node` is None for the input itself."""

    source: int
    node: Node | None
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


def merge(editor: GraphEditor) -> bool:
    """Merges the branches before every `Add` where possible; returns True if any were merged."""
    found = False
    for add in [s for s in editor.nodes() if s.kind is stock.Add]:
        while group := _group(editor, add):
            _replace(editor, add, group)
            found = True
            if editor.producers.get(add.outputs[0]) is not add:
                break
    return found


def _group(editor: GraphEditor, add: Node) -> list[Branch]:
    """Two or more branches that can become one convolution, the largest kernel first; empty if there are none."""
    branches = [_branch(editor, add, t) for t in add.inputs]
    wide = [b for b in branches if b.kernel is not None]
    for lead in sorted(wide, key=lambda b: -b.kernel.shape[0] * b.kernel.shape[1]):
        others = [b for b in branches if b is not lead and _fits(editor, b, lead)]
        if others:
            return [lead, *others]
    return []


def _branch(editor: GraphEditor, add: Node, tensor: int) -> Branch:
    node = editor.producers.get(tensor)
    bare = Branch(tensor, None, scale=np.ones(editor.shapes[tensor][-1] or 0))
    if node is None or editor.uses(tensor) > 1 or not editor.called_once(node):
        return bare
    if node.kind in NORMS and node.layer.axis in (-1, 3) and not node.kwargs.get("training"):
        scale, shift = scale_and_shift(node)
        return Branch(node.inputs[0], node, scale=scale, bias=shift, dtype=node.layer.compute_dtype)
    convolution = node.kind in MERGED and scaled(node) is not None
    if not convolution or node.layer.activation is not keras.activations.linear:
        return bare
    config = node.config
    if config["data_format"] != "channels_last":
        return bare
    source, pads = _padding(editor, node, config)
    if pads is None:
        return bare
    kernel, bias = weights_of(node, "kernel", "bias")
    groups = config.get("groups", 1)
    if node.kind is stock.DepthwiseConv2D:
        groups = kernel.shape[2]
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    dilation = tuple(d if k > 1 else 1 for d, k in zip(config["dilation_rate"], kernel.shape, strict=False))
    strides, dtype = tuple(config["strides"]), node.layer.compute_dtype
    return Branch(source, node, kernel, None, bias, strides, dilation, groups, pads, dtype)


def _padding(editor: GraphEditor, node: Node, config: dict) -> tuple[int, Pads | None]:
    """The tensor before the zero padding, and the amounts of padding; None if they depend on an open size."""
    x = node.inputs[0]
    before = editor.producers.get(x)
    if config["padding"] == "valid":
        if (
            before is not None
            and before.kind is stock.ZeroPadding2D
            and before.layer.data_format == "channels_last"
        ):
            return before.inputs[0], tuple(map(tuple, before.layer.padding))
        return x, ((0, 0), (0, 0))
    pads = []
    geometry = (editor.shapes[x][1:3], config["kernel_size"], config["strides"], config["dilation_rate"])
    for side, k, stride, dilation in zip(*geometry, strict=True):
        reach = (k - 1) * dilation
        if stride > 1 and reach:
            if side is None:
                return x, None
            reach = max((-(-side // stride) - 1) * stride + reach + 1 - side, 0)
        pads.append((reach // 2, reach - reach // 2))
    return x, tuple(pads)


def _fits(editor: GraphEditor, branch: Branch, lead: Branch) -> bool:
    if branch.source != lead.source or branch.strides != lead.strides:
        return False
    if branch.node is not None and branch.dtype != lead.dtype:
        return False
    if any((p[0] - q[0]) % e for e, p, q in zip(lead.dilation, lead.pads, branch.pads, strict=True)):
        return False
    if branch.kernel is None:  # a group must have as many filters as channels: filter i then reads channel i
        return editor.shapes[lead.source][-1] == lead.kernel.shape[-1]
    if branch.kernel.shape[2:] != lead.kernel.shape[2:] or branch.groups != lead.groups:
        return False
    return all(k == 1 or d == e for k, d, e in zip(branch.size, branch.dilation, lead.dilation, strict=True))


def _replace(editor: GraphEditor, add: Node, group: list[Branch]) -> None:
    lead = group[0]
    kernel, bias, pads = _sum(group, editor.shapes[lead.source][-1])
    own_pad = editor.producers.get(lead.node.inputs[0]) if lead.node.inputs[0] != lead.source else None
    node = Node(
        lead.node.layer, (TensorRef(lead.source),), {}, add.outputs, lead.node.kind, dict(lead.node.changes)
    )
    depthwise = node.kind is stock.DepthwiseConv2D
    shape = (*kernel.shape[:2], lead.groups, -1) if depthwise else kernel.shape
    node.weights = {"kernel": kernel.reshape(shape), "bias": np.broadcast_to(bias, kernel.shape[-1:])}
    node.changes.update(use_bias=True, kernel_size=kernel.shape[:2], dilation_rate=lead.dilation, padding="valid")
    reach = [(k - 1) * d for k, d in zip(kernel.shape, lead.dilation, strict=False)]
    if pads == tuple((r // 2, r - r // 2) for r in reach) and max(lead.strides) == 1:
        node.changes["padding"] = "same"
    elif own_pad is not None and pads == lead.pads:
        node.args = (TensorRef(lead.node.inputs[0]),)
    elif pads != ((0, 0), (0, 0)):
        node.args = (TensorRef(_pad(editor, lead, pads)),)
    rest = list(add.inputs)
    for branch in group:
        rest.remove(branch.source if branch.node is None else branch.node.outputs[0])
    if rest:
        merged = editor.new_tensor(editor.shapes[add.outputs[0]])
        node.outputs = (merged,)
    editor.add(node)
    for t in add.inputs:
        editor.consumers[t].remove(add)
    if rest:
        add.args, add.kwargs = ([TensorRef(t) for t in (merged, *rest)],), {}
        for t in (merged, *rest):
            editor.consumers[t].append(add)
    for branch in group:
        if branch.node is not None and not editor.uses(branch.node.outputs[0]):
            editor.remove(branch.node)


def _pad(editor: GraphEditor, lead: Branch, pads: Pads) -> int:
    n, h, w, c = editor.shapes[lead.source]
    shape = (n, h and h + sum(pads[0]), w and w + sum(pads[1]), c)
    name = editor.unique_name(f"{lead.node.name}_pad")
    layer = stock.ZeroPadding2D(pads, data_format="channels_last", name=name, dtype=lead.node.layer.dtype_policy)
    return editor.append(lead.source, layer, shape)


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
    # The padding grows at the far end by as much as the kernel.
    last = [lead.pads[a][1] + lead.dilation[a] * (sides[a] - starts[0][a] - lead.size[a]) for a in (0, 1)]
    filters = np.arange(total.shape[-1])
    for b in group:
        if b.kernel is None:  # tap (first / dilation) reads the pixel itself
            row, column = (first[a] // lead.dilation[a] for a in (0, 1))
            total[row, column, filters % (channels // lead.groups), filters] += b.scale
    return total, sum(b.bias for b in group), ((first[0], last[0]), (first[1], last[1]))
