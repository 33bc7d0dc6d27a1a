"""The graph of a functional model as a list of nodes. The only file that reads Keras' private history.

Private: `KerasTensor._keras_history`, `Operation._inbound_nodes` and a node's `arguments` (keras 3.15.1;
tests/test_graph.py fails when they change). The public alternative, `layer.input` and `layer.output`, gives only
a layer's first call.
"""

from dataclasses import dataclass, field
from typing import Any

import keras


@dataclass(frozen=True)
class TensorRef:
    """A symbolic tensor in the arguments of a call, by its position in the list of all tensors."""

    position: int


@dataclass(frozen=True)
class TracedCall:
    """One call of a layer: its input and output tensors, as positions in the list of all tensors.

    `args` and `kwargs` are those of the call, with a `TensorRef` for every tensor.
    """

    layer: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)


def ends(model: keras.Model) -> tuple[list, list]:
    """A model's input and output tensors.

    Raises:
        ValueError: the model has no graph (it is subclassed, or a Sequential that was never built).
    """
    try:
        sources, sinks = list(model.inputs), list(model.outputs)
    except (AttributeError, TypeError, ValueError):
        sources = sinks = None
    if not sources or not sinks:
        raise ValueError(f"{model.name!r} has no graph of layers: build it with the functional API first")
    return sources, sinks


def entry(model: keras.Model):
    """A model's inputs to make a new model of: a single input bare, several as a list."""
    sources, _ = ends(model)
    return sources[0] if len(sources) == 1 else sources


def producer(tensor):
    """The layer that outputs a symbolic tensor; for a model's input an `InputLayer`."""
    return tensor._keras_history[0]


def trace(model: keras.Model) -> tuple[list[TracedCall], list]:
    """The calls from a model's inputs to its outputs, in order, and all their symbolic tensors.

    Raises:
        ValueError: the model has no graph, see `ends`.
    """
    sources, sinks = ends(model)
    tensors: list = []
    position: dict[int, int] = {}
    nodes: list[TracedCall] = []

    def place(tensor) -> int:
        if id(tensor) not in position:
            position[id(tensor)] = len(tensors)
            tensors.append(tensor)
        return position[id(tensor)]

    for source in sources:
        place(source)
    stack = sinks[::-1]
    while stack:  # depth first without recursion: a chain of 5,000 layers exceeds Python's recursion limit
        tensor = stack[-1]
        if id(tensor) in position:
            stack.pop()
            continue
        operation, index, _ = tensor._keras_history
        node = operation._inbound_nodes[index]
        waiting = [t for t in node.input_tensors if id(t) not in position]
        if waiting:
            stack.extend(waiting[::-1])
            continue
        inputs = tuple(place(t) for t in node.input_tensors)
        args, kwargs = node.arguments.convert(lambda a: TensorRef(position[id(a)]) if id(a) in position else a)
        nodes.append(TracedCall(operation, inputs, tuple(place(t) for t in node.output_tensors), args, kwargs))
        stack.pop()
    return nodes, tensors
