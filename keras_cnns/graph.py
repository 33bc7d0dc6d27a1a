"""The graph of a functional model as a list of nodes. The one place that reads Keras' private history.

Private: `KerasTensor._keras_history`, `Operation._inbound_nodes` and a node's `arguments` (keras 3.15.1;
tests/test_graph.py fails loudly when they move). The public alternative, `layer.input` and `layer.output`, knows
only a layer's first call.
"""

from dataclasses import dataclass, field
from typing import Any

import keras


@dataclass(frozen=True)
class At:
    """Stands for a symbolic tensor in the arguments of a call: its position in the list of all tensors."""

    position: int


@dataclass(frozen=True)
class Node:
    """One call of a layer: which tensors came in and which went out, as positions in the list of all tensors.

    `args` and `kwargs` are those of the call, with an `At` for every tensor.
    """

    layer: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)


def ends(model: keras.Model) -> tuple[list, list]:
    """A model's input and output tensors.

    Raises:
        ValueError: if the model has no graph (a subclassed model, or a Sequential one that was never built).
    """
    try:
        sources, sinks = list(model.inputs), list(model.outputs)
    except (AttributeError, TypeError, ValueError):
        sources = sinks = None
    if not sources or not sinks:
        raise ValueError(f"{model.name!r} has no graph of layers: build it with the functional API first")
    return sources, sinks


def entry(model: keras.Model):
    """A model's inputs as a new model on them should take them: a lone one bare, as it will be called."""
    sources, _ = ends(model)
    return sources[0] if len(sources) == 1 else sources


def maker(tensor):
    """The layer that made a symbolic tensor; for a model's input an `InputLayer`."""
    return tensor._keras_history[0]


def trace(model: keras.Model) -> tuple[list[Node], list]:
    """The calls that lead from a model's inputs to its outputs, in order, and all their symbolic tensors.

    Raises:
        ValueError: if the model has no graph, as `ends` says.
    """
    sources, sinks = ends(model)
    tensors: list = []
    position: dict[int, int] = {}
    nodes: list[Node] = []

    def place(tensor) -> int:
        if id(tensor) not in position:
            position[id(tensor)] = len(tensors)
            tensors.append(tensor)
        return position[id(tensor)]

    for source in sources:
        place(source)
    stack = sinks[::-1]
    while stack:  # depth first by hand: a chain of 5,000 layers must not meet Python's recursion limit
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
        args, kwargs = node.arguments.convert(lambda a: At(position[id(a)]) if id(a) in position else a)
        nodes.append(Node(operation, inputs, tuple(place(t) for t in node.output_tensors), args, kwargs))
        stack.pop()
    return nodes, tensors
