"""A draft: the graph of a model as a list of calls that can be edited and then built into a new model.

Layers are copied by their configurations and their weights, so a draft never changes the model that it was made
of. Models nested in it are laid open: their layers stand in the draft themselves, and a layer whose name is taken
gets the nested model's name in front. A nested model without a graph (a subclassed one) stays a layer.
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
from keras_cnns.graph import At

LOG = logging.getLogger("keras_cnns")


@dataclass(eq=False)
class Step:
    """One call of a layer that the new model will have.

    Attributes:
        layer: the layer (or bare operation) to copy; a fresh, unbuilt layer does as well.
        args, kwargs: of the call, with an `At` for every tensor.
        outputs: the tensors that come out.
        kind: the class of the copy.
        changes: what differs in the copy's configuration.
        weights: the weights of the copy by attribute, those left out as they are drawn; None takes those of
            `source`.
        source: whose weights the copy takes if they have its shapes; None means those of `layer`.
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
        return [a.position for a in keras.tree.flatten((self.args, self.kwargs)) if isinstance(a, At)]

    @property
    def config(self) -> dict:
        return {**self.layer.get_config(), **self.changes}


class Draft:
    """An editable copy of a model's graph.

    Attributes:
        shapes: of every tensor, batch axis included.
        makers: the step that makes a tensor, by tensor.
        readers: the steps that read a tensor, one entry for each time they do.
        inputs, outputs: the tensors at the ends.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.shapes: list[tuple] = []
        self.makers: dict[int, Step] = {}
        self.readers: dict[int, list[Step]] = {}
        self._calls: Counter[int] = Counter()
        sources, sinks = graph.ends(model)
        self.output_names: list[str | None] = [graph.maker(t).name for t in sinks]
        self._taken = {graph.maker(t).name for t in (*sources, *sinks) if _is_no_layer_here(graph.maker(t))}
        self._names: dict[int, str] = {}  # by id of the layer
        self.inputs = [self.tensor(t.shape) for t in sources]
        self.outputs = self._enter(model, self.inputs, {}, "")

    # --- taking in ------------------------------------------------------------------------------------------

    def _enter(self, model, inputs: list[int], passed: dict, prefix: str) -> list[int]:
        nodes, tensors = graph.trace(model)
        place = dict(enumerate(inputs))
        for node in nodes:
            args, kwargs = keras.tree.map_structure(
                lambda a: At(place[a.position]) if isinstance(a, At) else a, (node.args, node.kwargs)
            )
            if passed and kwargs.get("training") is None and _takes_training(node.layer):
                kwargs = {**kwargs, **passed}
            if isinstance(node.layer, keras.Model) and _has_graph(node.layer):
                inner = {"training": kwargs["training"]} if kwargs.get("training") is not None else {}
                entering = [place[i] for i in node.inputs]
                outputs = self._enter(node.layer, entering, inner, f"{prefix}{node.layer.name}_")
            else:
                outputs = [self.tensor(tensors[i].shape) for i in node.outputs]
                step = Step(node.layer, args, kwargs, tuple(outputs))
                self._name(step, prefix)
                self.put(step)
            place.update(zip(node.outputs, outputs, strict=True))
        position = {id(t): i for i, t in enumerate(tensors)}
        return [place[position[id(t)]] for t in graph.ends(model)[1]]

    def _name(self, step: Step, prefix: str) -> None:
        if not isinstance(step.layer, keras.layers.Layer):
            return
        own = id(step.layer)
        if own not in self._names:
            free = step.name not in self._taken
            self._names[own] = self.free_name(step.name if free else f"{prefix}{step.name}")
        if self._names[own] != step.name:
            step.changes["name"] = self._names[own]

    # --- editing --------------------------------------------------------------------------------------------

    def tensor(self, shape) -> int:
        """A new tensor."""
        self.shapes.append(tuple(shape))
        self.readers[len(self.shapes) - 1] = []
        return len(self.shapes) - 1

    def free_name(self, name: str) -> str:
        """`name`, or `name` with a number where it is taken; it counts as taken from now on."""
        found, number = name, 1
        while found in self._taken:
            found, number = f"{name}_{number}", number + 1
        self._taken.add(found)
        return found

    def put(self, step: Step) -> None:
        """Adds a step; what it outputs had no maker, or loses the one it had."""
        for t in step.outputs:
            self.makers[t] = step
        for t in step.inputs:
            self.readers[t].append(step)
        self._calls[id(step.layer)] += 1

    def remove(self, step: Step) -> None:
        """Takes a step out, and all before it that nobody reads any more."""
        waiting = [step]
        while waiting:
            step = waiting.pop()
            self._calls[id(step.layer)] -= 1
            for t in step.outputs:
                if self.makers.get(t) is step:
                    del self.makers[t]
            for t in step.inputs:
                self.readers[t].remove(step)
                if not self.uses(t) and t in self.makers and not any(map(self.uses, self.makers[t].outputs)):
                    waiting.append(self.makers[t])

    def skip(self, step: Step) -> None:
        """Takes a step with one input and one output out; whoever read its output reads its input."""
        (before,), (after,) = step.inputs, step.outputs
        self.redirect(after, before)
        if self.makers.get(after) is step:
            self.remove(step)

    def redirect(self, old: int, new: int) -> None:
        """Whoever read `old` reads `new`."""
        for reader in self.readers[old]:
            reader.args, reader.kwargs = keras.tree.map_structure(
                lambda a: At(new) if a == At(old) else a, (reader.args, reader.kwargs)
            )
        self.readers[new] += self.readers[old]
        self.readers[old] = []
        self.outputs = [new if t == old else t for t in self.outputs]

    def uses(self, tensor: int) -> int:
        """How often a tensor is read, by steps and as an output of the model."""
        return len(self.readers[tensor]) + self.outputs.count(tensor)

    def called_once(self, step: Step) -> bool:
        """Whether the step's layer is called nowhere else in the model."""
        return self._calls[id(step.layer)] == 1

    def chain(self, tensor: int, layer, shape, **fields) -> int:
        """Puts a layer of one input behind a tensor; gives its output."""
        out = self.tensor(shape)
        self.put(Step(layer, (At(tensor),), {}, (out,), **fields))
        return out

    # --- building -------------------------------------------------------------------------------------------

    def steps(self) -> Iterator[Step]:
        """The steps that lead to the outputs, each after those it reads."""
        done: set[int] = set()
        stack = [self.makers[t] for t in self.outputs[::-1] if t in self.makers]
        while stack:
            step = stack[-1]
            if id(step) in done:
                stack.pop()
                continue
            waiting = [self.makers[t] for t in step.inputs if t in self.makers and id(self.makers[t]) not in done]
            if waiting:
                stack.extend(waiting[::-1])
                continue
            done.add(id(step))
            stack.pop()
            yield step

    def build(self, input_shapes: list[tuple] | None = None) -> keras.Model:
        """The new model. Inputs and outputs keep their names, their order and the structure they came in."""
        sources = graph.ends(self.model)[0]
        shapes = input_shapes or [t.shape for t in sources]
        with deep_recursion():
            entries = [_entry(t, shape) for t, shape in zip(sources, shapes, strict=True)]
            ends = self._named(self.replay(entries))
            return keras.Model(
                _like(self.model, "input", entries), _like(self.model, "output", ends), name=self.model.name
            )

    def replay(self, entries: list) -> list:
        """What copies of the layers make of other inputs: the draft as a part of a larger graph."""
        values = dict(zip(self.inputs, entries, strict=True))
        copies: dict[int, Any] = {}
        for step in self.steps():
            args, kwargs = keras.tree.map_structure(
                lambda a: values[a.position] if isinstance(a, At) else a, (step.args, step.kwargs)
            )
            fresh = id(step.layer) not in copies
            layer = copies.setdefault(id(step.layer), _copy(step)) if fresh else copies[id(step.layer)]
            out = keras.tree.flatten(layer(*args, **kwargs))
            if fresh:
                _fill(layer, step)
            values.update(zip(step.outputs, out, strict=True))
        return [values[t] for t in self.outputs]

    def _named(self, tensors: list) -> list:
        """Outputs keep their names: where the layer that had it is gone, a layer that does nothing takes it."""
        made: dict[tuple, Any] = {}
        for tensor, name in zip(tensors, self.output_names, strict=True):
            key = (id(tensor), name)
            if key not in made:
                keep = name is None or graph.maker(tensor).name == name
                made[key] = tensor if keep else keras.layers.Identity(name=name, dtype=tensor.dtype)(tensor)
        return [made[id(t), name] for t, name in zip(tensors, self.output_names, strict=True)]


def _entry(tensor, shape):
    """A new input like an old one. Sparse and optional inputs stay so."""
    config = graph.maker(tensor).get_config()
    return keras.layers.InputLayer.from_config({**config, "batch_shape": tuple(shape)}).output


def _copy(step: Step):
    if not isinstance(step.layer, keras.layers.Layer):
        return step.layer  # a bare operation has no state; Keras' own clone_model calls the same one again
    return step.kind.from_config(step.config)


def _fill(layer, step: Step) -> None:
    if not isinstance(layer, keras.layers.Layer):
        return
    if step.weights is not None:
        for name, value in step.weights.items():
            getattr(layer, name).assign(value)
        return
    old = step.layer.weights if step.source is None else step.source.weights
    if [w.shape for w in old] != [w.shape for w in layer.weights]:
        LOG.info("%s (%s) starts with fresh weights", layer.name, type(layer).__name__)
    elif old:
        layer.set_weights([keras.ops.convert_to_numpy(w) for w in old])
        if hasattr(layer, "finalize_state"):  # Normalization works with what it computes from its weights
            layer.finalize_state()


def _like(model, end: str, tensors: list):
    """Tensors in the structure (one, a list, a dictionary) of the model's ends."""
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
    """Inputs are made anew and nested models laid open; their names stay those of the model's ends."""
    return isinstance(layer, keras.layers.InputLayer | keras.Model)


def _takes_training(layer) -> bool:
    return "training" in inspect.signature(layer.call).parameters
