"""A network that computes as its int8 form will: what eight bits cost, layer by layer, and learning with them."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers as stock

from keras_cnns import layers as ours
from keras_cnns.deep import deep_recursion
from keras_cnns.graph import At
from keras_cnns.surgery.draft import Draft, Step

# Layers whose outputs an int8 network stores with a range of their own. Others (padding, cropping, max-pooling)
# hand on the range of their input.
MAKERS = (
    stock.Activation,
    stock.Add,
    stock.AveragePooling2D,
    stock.BatchNormalization,
    stock.Concatenate,
    stock.Conv2D,
    stock.Dense,
    stock.DepthwiseConv2D,
    stock.GlobalAveragePooling2D,
    stock.Multiply,
    stock.ReLU,
    stock.Rescaling,
)
STEPS = 255


@dataclass(frozen=True)
class Seen:
    """What a layer put out: least and greatest value, and the size of its signal.

    `rms` is the root of the mean square of the middle channel: one loud channel widens the steps of all, and
    what it drowns is the others.
    """

    low: float
    high: float
    rms: float

    @property
    def noise(self) -> float:
        """What rounding to eight bits adds, as a share of the signal: within a step it is uniform."""
        return (self.high - self.low) / STEPS / np.sqrt(12) / max(self.rms, 1e-12)


def places(model: keras.Model) -> list[str]:
    """Layers after which an int8 network rounds: those that make numbers, but for one that a ReLU follows at once.

    >>> import keras_cnns
    >>> places(keras_cnns.fuse(keras_cnns.LeNet5Modern()))[:3]
    ['conv1_relu', 'conv2_relu', 'dense1_relu']
    """
    draft = Draft(model)
    return [step.name for step in _rounded(draft)]


def _rounded(draft: Draft) -> list[Step]:
    return [s for s in draft.steps() if isinstance(s.layer, MAKERS) and draft.called_once(s) and _ends(draft, s)]


def _ends(draft: Draft, step: Step) -> bool:
    (out,) = step.outputs
    readers = draft.readers[out]
    if out in draft.outputs:
        return False
    return not (len(readers) == 1 and _is_relu(readers[0].layer))


def _is_relu(layer) -> bool:
    return isinstance(layer, stock.ReLU) or getattr(layer, "activation", None) is keras.activations.relu


def seen(model: keras.Model, images: np.ndarray, batch: int = 8) -> dict[str, Seen]:
    """What every place of a model puts out for some images, as the model takes them."""
    names = places(model)
    with deep_recursion():
        probe = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
    low, high, squares, count = np.inf, -np.inf, [0.0] * len(names), 0
    for start in range(0, len(images), batch):
        out = [np.asarray(o) for o in keras.tree.flatten(probe.predict_on_batch(images[start : start + batch]))]
        low = np.minimum(low, [o.min() for o in out])
        high = np.maximum(high, [o.max() for o in out])
        means = [np.square(o, dtype="float64").mean(axis=tuple(range(o.ndim - 1))) for o in out]
        squares = [a + b for a, b in zip(squares, means, strict=True)]
        count += 1
    sizes = [np.sqrt(np.median(s) / count) for s in squares]
    figures = zip(names, low, high, sizes, strict=True)
    return {name: Seen(float(a), float(b), float(c)) for name, a, b, c in figures}


def rehearse(model: keras.Model, ranges: dict[str, Seen]) -> keras.Model:
    """A copy that rounds kernels and activations to int8 as the deployed network will, and can be trained.

    Args:
        model: an inference form (`fuse`); a batch norm that is left in it stays in float.
        ranges: what `seen` found.
    """
    draft = Draft(model)
    for step in _rounded(draft):
        (out,) = step.outputs
        inner = draft.tensor(draft.shapes[out])
        draft.redirect(out, inner)
        layer = ours.FakeQuantise(name=draft.free_name(f"{step.name}_int8"))
        found = ranges[step.name]
        weights = {"low": np.float32(min(found.low, 0)), "high": np.float32(max(found.high, 0))}
        draft.put(Step(layer, (At(out),), {}, (inner,), weights=weights))
    for step in draft.steps():
        if step.kind in (stock.Conv2D, ours.Conv2D):
            step.kind = ours.QuantisedConv2D
        elif step.kind is stock.Dense:
            step.kind = ours.QuantisedDense
    return draft.build()


def taught(model: keras.Model, rehearsed: keras.Model) -> keras.Model:
    """A copy of `model` with the weights that its rehearsal has learned."""
    with deep_recursion():
        copy = Draft(model).build()
    for layer in copy.layers:
        if layer.weights:
            layer.set_weights([keras.ops.convert_to_numpy(w) for w in rehearsed.get_layer(layer.name).weights])
    return copy
