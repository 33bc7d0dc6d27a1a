"""The graph editor: a model's graph as nodes that can be added, removed and rewired, then built as a new model.

Layers are copied by configuration and weights, so the original model never changes. Nested models are flattened:
their layers become nodes of the outer graph, and a layer whose name is taken gets the nested model's name as a
prefix. A nested model without a graph (a subclassed one) stays a single layer.
"""

import inspect
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_cnns import graph
from keras_cnns.deep import deep_recursion
from keras_cnns.graph import TensorRef

LOG = logging.getLogger("keras_cnns")


@dataclass(eq=False)
class Node:
    """One layer call of the new model.

    Attributes:
        layer: the layer (or bare operation) to copy; it may be new and unbuilt.
        args, kwargs: arguments of the call, with a `TensorRef` for every tensor.
        outputs: its output tensors.
        kind: the class of the copy.
        changes: entries of the copy's configuration that differ.
        weights: weights of the copy by attribute; those not listed keep their initial values. None copies those
            of `source`.
        source: the layer whose weights are copied if their shapes agree; None means `layer`.
    """

    layer: Any
    args: tuple
    kwargs: dict
    outputs: tuple[int, ...]
    kind: type = None
    changes: dict = field(default_factory=dict)
    weights: dict[str, np.ndarray] | None = None
    source: Any = None

    def __post_init__(self):
        self.kind = self.kind or type(self.layer)

    @property
    def name(self) -> str:
        return self.changes.get("name", self.layer.name)

    @property
    def inputs(self) -> list[int]:
        return [a.position for a in keras.tree.flatten((self.args, self.kwargs)) if isinstance(a, TensorRef)]

    @property
    def config(self) -> dict:
        return {**self.layer.get_config(), **self.changes}


class GraphEditor:
    """An editable copy of a model's graph.

    Attributes:
        shapes: shape of every tensor, batch axis included.
        producers: tensor -> the node that outputs it.
        consumers: tensor -> the nodes that read it, one entry for each use.
        inputs, outputs: input and output tensors of the model.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.shapes: list[tuple] = []
        self.producers: dict[int, Node] = {}
        self.consumers: dict[int, list[Node]] = {}
        self._calls: Counter[int] = Counter()
        sources, sinks = graph.ends(model)
        self.output_names: list[str | None] = [graph.producer(t).name for t in sinks]
        self._taken = {graph.producer(t).name for t in (*sources, *sinks) if _is_no_layer_here(graph.producer(t))}
        self._names: dict[int, str] = {}  # by id of the layer
        self.inputs = [self.new_tensor(t.shape) for t in sources]
        self.outputs = self._add_model(model, self.inputs, {}, "")

    # --- reading a model ------------------------------------------------------------------------------------

    def _add_model(self, model, inputs: list[int], passed: dict, prefix: str) -> list[int]:
        traced, tensors = graph.trace(model)
        place = dict(enumerate(inputs))
        for call in traced:
            args, kwargs = keras.tree.map_structure(
                lambda a: TensorRef(place[a.position]) if isinstance(a, TensorRef) else a, (call.args, call.kwargs)
            )
            if passed and kwargs.get("training") is None and _takes_training(call.layer):
                kwargs = {**kwargs, **passed}
            if isinstance(call.layer, keras.Model) and _has_graph(call.layer):
                inner = {"training": kwargs["training"]} if kwargs.get("training") is not None else {}
                entering = [place[i] for i in call.inputs]
                outputs = self._add_model(call.layer, entering, inner, f"{prefix}{call.layer.name}_")
            else:
                outputs = [self.new_tensor(tensors[i].shape) for i in call.outputs]
                node = Node(call.layer, args, kwargs, tuple(outputs))
                self._set_name(node, prefix)
                self.add(node)
            place.update(zip(call.outputs, outputs, strict=True))
        position = {id(t): i for i, t in enumerate(tensors)}
        return [place[position[id(t)]] for t in graph.ends(model)[1]]

    def _set_name(self, node: Node, prefix: str) -> None:
        if not isinstance(node.layer, keras.layers.Layer):
            return
        own = id(node.layer)
        if own not in self._names:
            free = node.name not in self._taken
            self._names[own] = self.unique_name(node.name if free else f"{prefix}{node.name}")
        if self._names[own] != node.name:
            node.changes["name"] = self._names[own]

    # --- editing --------------------------------------------------------------------------------------------

    def new_tensor(self, shape) -> int:
        """A new tensor."""
        self.shapes.append(tuple(shape))
        self.consumers[len(self.shapes) - 1] = []
        return len(self.shapes) - 1

    def unique_name(self, name: str) -> str:
        """`name`, or `name` with a number if it is taken. The result is reserved."""
        found, number = name, 1
        while found in self._taken:
            found, number = f"{name}_{number}", number + 1
        self._taken.add(found)
        return found

    def add(self, node: Node) -> None:
        """Adds a node; it becomes the producer of its outputs."""
        for t in node.outputs:
            self.producers[t] = node
        for t in node.inputs:
            self.consumers[t].append(node)
        self._calls[id(node.layer)] += 1

    def remove(self, node: Node) -> None:
        """Removes a node, and all nodes before it that become unused."""
        waiting = [node]
        while waiting:
            node = waiting.pop()
            self._calls[id(node.layer)] -= 1
            for t in node.outputs:
                if self.producers.get(t) is node:
                    del self.producers[t]
            for t in node.inputs:
                self.consumers[t].remove(node)
                if not self.uses(t) and t in self.producers and not any(map(self.uses, self.producers[t].outputs)):
                    waiting.append(self.producers[t])

    def bypass(self, node: Node) -> None:
        """Removes a node with one input and one output; consumers of its output read its input instead."""
        (before,), (after,) = node.inputs, node.outputs
        self.replace_uses(after, before)
        if self.producers.get(after) is node:
            self.remove(node)

    def replace_uses(self, old: int, new: int) -> None:
        """Makes all consumers of tensor `old`, and the model's outputs, use `new`."""
        for reader in self.consumers[old]:
            reader.args, reader.kwargs = keras.tree.map_structure(
                lambda a: TensorRef(new) if a == TensorRef(old) else a, (reader.args, reader.kwargs)
            )
        self.consumers[new] += self.consumers[old]
        self.consumers[old] = []
        self.outputs = [new if t == old else t for t in self.outputs]

    def uses(self, tensor: int) -> int:
        """Number of uses of a tensor, by nodes and as an output of the model."""
        return len(self.consumers[tensor]) + self.outputs.count(tensor)

    def called_once(self, node: Node) -> bool:
        """True if the node's layer is called only once in the model."""
        return self._calls[id(node.layer)] == 1

    def append(self, tensor: int, layer, shape, **fields) -> int:
        """Adds a layer that reads `tensor`; returns its output of the given shape."""
        out = self.new_tensor(shape)
        self.add(Node(layer, (TensorRef(tensor),), {}, (out,), **fields))
        return out

    # --- building -------------------------------------------------------------------------------------------

    def nodes(self) -> Iterator[Node]:
        """The nodes that lead to the outputs, in topological order."""
        done: set[int] = set()
        stack = [self.producers[t] for t in self.outputs[::-1] if t in self.producers]
        while stack:
            node = stack[-1]
            if id(node) in done:
                stack.pop()
                continue
            waiting = [
                self.producers[t] for t in node.inputs if t in self.producers and id(self.producers[t]) not in done
            ]
            if waiting:
                stack.extend(waiting[::-1])
                continue
            done.add(id(node))
            stack.pop()
            yield node

    def build(self, input_shapes: list[tuple] | None = None) -> keras.Model:
        """The new model. Inputs and outputs keep their names, order and structure."""
        sources = graph.ends(self.model)[0]
        shapes = input_shapes or [t.shape for t in sources]
        with deep_recursion():
            entries = [_entry(t, shape) for t, shape in zip(sources, shapes, strict=True)]
            ends = self._named(self.apply(entries))
            return keras.Model(
                _like(self.model, "input", entries), _like(self.model, "output", ends), name=self.model.name
            )

    def apply(self, entries: list) -> list:
        """Calls copies of the layers on other inputs, so that the edited graph becomes part of a larger one."""
        values = dict(zip(self.inputs, entries, strict=True))
        copies: dict[int, Any] = {}
        for node in self.nodes():
            args, kwargs = keras.tree.map_structure(
                lambda a: values[a.position] if isinstance(a, TensorRef) else a, (node.args, node.kwargs)
            )
            fresh = id(node.layer) not in copies
            layer = copies.setdefault(id(node.layer), _copy(node)) if fresh else copies[id(node.layer)]
            out = keras.tree.flatten(layer(*args, **kwargs))
            if fresh:
                _fill(layer, node)
            values.update(zip(node.outputs, out, strict=True))
        return [values[t] for t in self.outputs]

    def _named(self, tensors: list) -> list:
        """Keeps the names of outputs: where a named layer was removed, an `Identity` layer takes its name."""
        made: dict[tuple, Any] = {}
        for tensor, name in zip(tensors, self.output_names, strict=True):
            key = (id(tensor), name)
            if key not in made:
                keep = name is None or graph.producer(tensor).name == name
                made[key] = tensor if keep else keras.layers.Identity(name=name, dtype=tensor.dtype)(tensor)
        return [made[id(t), name] for t, name in zip(tensors, self.output_names, strict=True)]


def _entry(tensor, shape):
    """A new input like an old one, sparse or optional as it was."""
    config = graph.producer(tensor).get_config()
    return keras.layers.InputLayer.from_config({**config, "batch_shape": tuple(shape)}).output


def _copy(node: Node):
    if not isinstance(node.layer, keras.layers.Layer):
        return node.layer  # a bare operation has no state; Keras' own clone_model calls the same one again
    return node.kind.from_config(node.config)


def _fill(layer, node: Node) -> None:
    if not isinstance(layer, keras.layers.Layer):
        return
    if node.weights is not None:
        for name, value in node.weights.items():
            getattr(layer, name).assign(value)
        return
    old = node.layer.weights if node.source is None else node.source.weights
    if [w.shape for w in old] != [w.shape for w in layer.weights]:
        LOG.info("%s (%s) starts with fresh weights", layer.name, type(layer).__name__)
    elif old:
        layer.set_weights([keras.ops.convert_to_numpy(w) for w in old])
        if hasattr(layer, "finalize_state"):  # Normalization computes further state from its weights
            layer.finalize_state()


def _like(model, end: str, tensors: list):
    """Tensors in the structure (one, a list, a dictionary) of the model's inputs or outputs."""
    structure = None if isinstance(model, keras.Sequential) else getattr(model, end)
    if (len(tensors) == 1 and len(keras.tree.flatten(structure)) != 1) or structure is None:
        return tensors[0]
    return keras.tree.pack_sequence_as(structure, tensors)


def _has_graph(model) -> bool:
    try:
        graph.ends(model)
    except ValueError:
        return False
    return True


def _is_no_layer_here(layer) -> bool:
    """True for inputs and nested models: they become no nodes, but inputs and outputs keep their names."""
    return isinstance(layer, keras.layers.InputLayer | keras.Model)


def _takes_training(layer) -> bool:
    return "training" in inspect.signature(layer.call).parameters
