"""A network body with an edit of its graph, as a value: it builds the edited network and goes to JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import keras

from keras_cnns.graph import TensorRef
from keras_cnns.surgery.graph_editor import GraphEditor, Node
from keras_cnns.surgery.swap import swap_layers
from keras_cnns.values import Fraction, Value, by_name


@dataclass(frozen=True)
class EditedRow(Value):
    """A row and an edit of the graph that it builds. Call it on an image tensor, like the row itself.

    Attributes:
        row: image -> features, or another `EditedRow`.
        edit: a function that changes a `GraphEditor` of the row's graph.

    All weights, also those of new layers, are initialised anew; layers without an edit by the row's own rule.

    >>> import keras_cnns
    >>> from dataclasses import replace
    >>> net = replace(keras_cnns.ResNet20, row=EditedRow(keras_cnns.ResNet20.row, SwapLayers(tanh_for_relu)))
    >>> net().get_layer("stem_conv_relu").activation.__name__
    'tanh'
    """

    ALIASES: ClassVar = ("Operated",)

    row: Callable
    edit: Callable

    def __call__(self, x):
        image = keras.Input(x.shape[1:])
        editor = GraphEditor(keras.Model(image, self.row(image)))
        self.edit(editor)
        for node in editor.nodes():
            node.weights = {}
        (features,) = editor.apply([x])
        return features


@dataclass(frozen=True)
class SwapLayers(Value):
    """Replaces every layer by the result of a function (layer -> layer), as `swap` does."""

    ALIASES: ClassVar = ("Exchange",)

    change: Callable

    def __call__(self, editor: GraphEditor) -> None:
        swap_layers(editor, self.change)


def tanh_for_relu(layer):
    """The hyperbolic tangent in place of a ReLU."""
    if isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu:
        return keras.layers.Activation("tanh", dtype=layer.dtype_policy)
    return layer


def without_norms(editor: GraphEditor) -> None:
    """Removes batch norms; the convolutions before them get a bias instead."""
    for node in list(editor.nodes()):
        if not isinstance(node.layer, keras.layers.BatchNormalization):
            continue
        before = editor.producers.get(node.inputs[0])
        if before is not None and isinstance(before.layer, keras.layers.Conv2D):
            before.changes["use_bias"] = True
        editor.bypass(node)


@dataclass(frozen=True)
class AddDropout(Value):
    """Adds dropout after every ReLU."""

    ALIASES: ClassVar = ("Dropped",)

    rate: Fraction

    def __call__(self, editor: GraphEditor) -> None:
        for node in list(editor.nodes()):
            if isinstance(node.layer, keras.layers.Activation) and node.layer.activation is keras.activations.relu:
                (out,) = node.outputs
                dropped = editor.new_tensor(editor.shapes[out])
                editor.replace_uses(out, dropped)
                layer = keras.layers.Dropout(self.rate, name=editor.unique_name(f"{node.name}_dropout"))
                editor.add(Node(layer, (TensorRef(out),), {}, (dropped,)))


PARTS = by_name((AddDropout, EditedRow, SwapLayers, tanh_for_relu, without_norms))
