"""`measure`: parameters, multiply-accumulates, connections, receptive field and depth of a model.

MACs are those of convolutions and dense layers for one image, as the papers count them; normalisation, biases,
pooling and additions count zero. Rules for stock Keras layers are in the table `RULES`; a custom layer defines
`macs(input_shape)`, `connections(input_shape)` and, for a sliding window, `window = (kernel, stride)`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers

from keras_cnns import graph

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class LayerMeasure:
    """One row of the table: the costs of a layer for one image."""

    name: str
    kind: str
    output_shape: Shape  # without the batch axis
    params: int
    macs: int
    neurons: int
    connections: int
    receptive_field: int
    stride: int


@dataclass(frozen=True)
class Measure:
    """The measures of a model; prints as a table.

    Attributes:
        params: all weights, batch norm's moving statistics included, as `model.count_params()`.
        trainable_params: trainable weights only, as papers count.
        macs: multiply-accumulates of convolutions and dense layers, one image.
        neurons: outputs of the layers with weights other than normalisation (units, in the papers' sense).
        connections: MACs plus biases, and LeNet-5's sub-sampling and RBF as in the paper.
        depth: layers with weights on the longest path, without gates (squeeze-and-excitation, attention).
        receptive_field: side, in input pixels, of the window that one cell of the last spatial map depends on.
        layers: one `LayerMeasure` per call of a layer.
    """

    name: str
    params: int
    trainable_params: int
    macs: int
    neurons: int
    connections: int
    depth: int
    receptive_field: int
    layers: tuple[LayerMeasure, ...]

    def __str__(self):
        head = ("layer", "kind", "output", "parameters", "MACs", "neurons", "connections", "field", "stride")
        rows = [
            (
                m.name,
                m.kind,
                "x".join(map(str, m.output_shape)),
                *(f"{n:,}" for n in (m.params, m.macs, m.neurons, m.connections)),
                str(m.receptive_field),
                str(m.stride),
            )
            for m in self.layers
        ]
        total = (
            self.name,
            f"depth {self.depth}",
            "",
            *(f"{n:,}" for n in (self.params, self.macs, self.neurons, self.connections)),
            str(self.receptive_field),
            "",
        )
        widths = [max(map(len, column)) for column in zip(head, *rows, total, strict=True)]
        lines = [_line(r, widths) for r in (head, *rows, total)]
        rule = "-" * len(lines[0])
        trainable = f"{self.trainable_params:,} of the parameters are trainable"
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], trainable])


def _line(cells, widths) -> str:
    text = [c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
    return "  ".join(text).rstrip()


@dataclass(frozen=True)
class _State:
    """State of a tensor: receptive field of a cell, pixels between cells, weight layers before it."""

    field: int = 1
    stride: int = 1
    depth: int = 0
    pooled: bool = False  # after a global pooling or flattening


def measure(model: keras.Model, input_shape: Shape | None = None) -> Measure:
    """Measures any functional or Sequential Keras model.

    Args:
        model: a model with a graph.
        input_shape: (height, width, channels); required if the model has an open input size.

    Raises:
        ValueError: the spatial size is unknown, `input_shape` contradicts the model, or a layer has weights but
            no rule.

    Example:

    >>> import keras
    >>> x = keras.Input((32, 32, 3))
    >>> model = keras.Model(x, keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(x))
    >>> measure(model).macs == 32 * 32 * 3 * 3 * 3 * 16
    True
    """
    rows: list[LayerMeasure] = []
    shapes = [_input_shape(model, t.shape, input_shape) for t in graph.ends(model)[0]]
    ends = _walk(model, shapes, [_State() for _ in shapes], rows)
    return Measure(
        name=model.name,
        params=model.count_params(),
        trainable_params=sum(math.prod(w.shape) for w in model.trainable_weights),
        macs=sum(r.macs for r in rows),
        neurons=sum(r.neurons for r in rows),
        connections=sum(r.connections for r in rows),
        depth=max(e.depth for e in ends),
        receptive_field=max(e.field for e in ends),
        layers=tuple(rows),
    )


def _input_shape(model, own: Shape, asked: Shape | None) -> Shape:
    shape = tuple(own[1:]) if asked is None else tuple(asked)
    if len(shape) != len(own) - 1 or any(a not in (None, b) for a, b in zip(own[1:], shape, strict=True)):
        raise ValueError(f"input_shape of {model.name!r} must fit {tuple(own[1:])}, got {shape}")
    if None in shape:
        raise ValueError(f"{model.name!r} has an open size {shape}: give input_shape=(height, width, channels)")
    return (None, *shape)


def _walk(model, shapes: list[Shape], seen: list[_State], rows: list[LayerMeasure]) -> list[_State]:
    """Traverses the graph, appends to `rows` and returns the states of the outputs."""
    nodes, tensors = graph.trace(model)
    shape = dict(enumerate(shapes))
    sees = dict(enumerate(seen))
    for node in nodes:
        layer = node.layer
        inputs = [shape[i] for i in node.inputs]
        before = [sees[i] for i in node.inputs]
        out = _output_shapes(layer, inputs, [tensors[i] for i in node.outputs])
        shape.update(zip(node.outputs, out, strict=True))
        if isinstance(layer, keras.Model):
            after = _walk(layer, inputs, before, rows)
        else:
            row, state = _layer(layer, inputs, out[0], before)
            rows.append(row)
            after = [state] * len(node.outputs)
        sees.update(zip(node.outputs, after, strict=True))
    place = {id(t): i for i, t in enumerate(tensors)}
    return [sees[place[id(t)]] for t in model.outputs]


def _output_shapes(layer, inputs: list[Shape], symbolic: list) -> list[Shape]:
    known = [tuple(t.shape) for t in symbolic]
    if all(None not in s[1:] for s in known):
        return known
    got = layer.compute_output_shape(inputs if len(inputs) > 1 else inputs[0])
    return [tuple(got)] if got and not isinstance(got[0], tuple | list) else [tuple(g) for g in got]


def _layer(layer, inputs: list[Shape], out: Shape, before: list[_State]) -> tuple[LayerMeasure, _State]:
    shape = inputs[0]
    rule = RULES.get(_kind(layer))
    params = layer.count_params() if getattr(layer, "built", False) and layer.weights else 0
    if hasattr(layer, "macs"):
        macs, connections, window = layer.macs(shape), layer.connections(shape), getattr(layer, "window", None)
    elif rule is not None:
        macs, bias, window = rule(layer, shape, out)
        connections = macs + bias
    elif params:
        raise ValueError(
            f"layer {layer.name!r} ({type(layer).__name__}) has {params:,} weights and no rule in measure: "
            "give it methods macs(input_shape) and connections(input_shape)"
        )
    else:
        macs, connections, window = 0, 0, None
    state = _merge(before)
    works = connections > 0
    if window == GLOBAL:
        state = _State(state.field, state.stride, state.depth, pooled=True)
    elif window is not None and not state.pooled:
        kernel, stride = window
        field = state.field + (kernel - 1) * state.stride
        state = _State(field, state.stride * stride, state.depth)
    if works:
        state = _State(state.field, state.stride, state.depth + 1, state.pooled)
    neurons = math.prod(out[1:]) if works else 0
    kind = type(layer).__name__
    row = LayerMeasure(
        layer.name, kind, tuple(out[1:]), params, macs, neurons, connections, state.field, state.stride
    )
    return row, state


def _merge(states: list[_State]) -> _State:
    """Merges branches: the largest field, the longest path; pooled branches are gates and do not count."""
    main = [s for s in states if not s.pooled] or states
    return _State(
        max(s.field for s in main), max(s.stride for s in main), max(s.depth for s in main), main[0].pooled
    )


# --- rules of the stock layers: (layer, input shape, output shape) -> MACs, biases, window ----------------------

GLOBAL = "global"


def _kind(layer) -> type | None:
    return next((k for k in type(layer).__mro__ if k in RULES), None)


def _convolution(layer, shape: Shape, out: Shape):
    kernel = layer.kernel_size[0] * layer.kernel_size[1]
    cells = out[1] * out[2]
    window = ((layer.kernel_size[0] - 1) * layer.dilation_rate[0] + 1, layer.strides[0])
    macs = cells * kernel * (shape[-1] // layer.groups) * layer.filters
    return macs, layer.use_bias * cells * layer.filters, window


def _depthwise(layer, shape: Shape, out: Shape):
    cells = out[1] * out[2]
    window = ((layer.kernel_size[0] - 1) * layer.dilation_rate[0] + 1, layer.strides[0])
    return cells * layer.kernel_size[0] * layer.kernel_size[1] * out[-1], layer.use_bias * cells * out[-1], window


def _dense(layer, shape: Shape, out: Shape):
    units = math.prod(out[1:])
    return units * shape[-1], layer.use_bias * units, None


def _pool(layer, shape: Shape, out: Shape):
    return 0, 0, (layer.pool_size[0], layer.strides[0])


def _free(layer, shape: Shape, out: Shape):
    return 0, 0, None


def _global(layer, shape: Shape, out: Shape):
    return 0, 0, GLOBAL


RULES: dict[type, Callable] = {
    layers.Conv2D: _convolution,
    layers.DepthwiseConv2D: _depthwise,
    layers.Dense: _dense,
    layers.BatchNormalization: _free,
    layers.MaxPooling2D: _pool,
    layers.AveragePooling2D: _pool,
    layers.GlobalAveragePooling2D: _global,
    layers.GlobalMaxPooling2D: _global,
    layers.Flatten: _global,
}
