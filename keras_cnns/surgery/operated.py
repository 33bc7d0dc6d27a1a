"""A network body after surgery, as a value: what was done to a model can be built again, and goes to JSON."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from keras_cnns.graph import At
from keras_cnns.surgery.draft import Draft, Step
from keras_cnns.surgery.swap import exchange
from keras_cnns.values import Fraction, Value, by_name


@dataclass(frozen=True)
class Operated(Value):
    """A row, and an edit of the graph that it makes. Call it on an image tensor, as the row itself.

    Attributes:
        row: image -> features, or another `Operated`.
        edit: what changes a `Draft` of the row's graph.

    Weights start afresh, those of new layers too; what is not edited starts as the row starts it.

    >>> import keras_cnns
    >>> from dataclasses import replace
    >>> net = replace(keras_cnns.ResNet20, row=Operated(keras_cnns.ResNet20.row, Exchange(tanh_for_relu)))
    >>> net().get_layer("stem_conv_relu").activation.__name__
    'tanh'
    """

    row: Callable
    edit: Callable

    def __call__(self, x):
        image = keras.Input(x.shape[1:])
        draft = Draft(keras.Model(image, self.row(image)))
        self.edit(draft)
        for step in draft.steps():
            step.weights = {}
        (features,) = draft.replay([x])
        return features


@dataclass(frozen=True)
class Exchange(Value):
    """Every layer becomes what a function says (layer -> layer), as `swap` does it."""

    change: Callable

    def __call__(self, draft: Draft) -> None:
        exchange(draft, self.change)


def tanh_for_relu(layer):
    """The hyperbolic tangent where a ReLU was."""
    if isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu:
        return keras.layers.Activation("tanh", dtype=layer.dtype_policy)
    return layer


def without_norms(draft: Draft) -> None:
    """Batch norms left out; the convolutions before them get the bias that the norm gave them."""
    for step in list(draft.steps()):
        if not isinstance(step.layer, keras.layers.BatchNormalization):
            continue
        before = draft.makers.get(step.inputs[0])
        if before is not None and isinstance(before.layer, keras.layers.Conv2D):
            before.changes["use_bias"] = True
        draft.skip(step)


@dataclass(frozen=True)
class Dropped(Value):
    """Dropout behind every ReLU."""

    rate: Fraction

    def __call__(self, draft: Draft) -> None:
        for step in list(draft.steps()):
            if isinstance(step.layer, keras.layers.Activation) and step.layer.activation is keras.activations.relu:
                (made,) = step.outputs
                dropped = draft.tensor(draft.shapes[made])
                draft.redirect(made, dropped)
                layer = keras.layers.Dropout(self.rate, name=draft.free_name(f"{step.name}_dropout"))
                draft.put(Step(layer, (At(made),), {}, (dropped,)))


PARTS = by_name((Dropped, Exchange, Operated, tanh_for_relu, without_norms))
