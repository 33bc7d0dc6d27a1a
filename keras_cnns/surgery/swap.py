"""Replaces layers of a model: another activation, norm or pooling."""

import inspect
from collections.abc import Callable

import keras

from keras_cnns.surgery.graph_editor import GraphEditor


def swap(model: keras.Model, change: Callable) -> keras.Model:
    """A copy of a model in which every layer is replaced by `change(layer)`. The original is unchanged.

    Args:
        model: any functional or Sequential model; nested models are flattened.
        change: layer -> layer. Return the same layer to keep it (as a copy with its weights), another layer to
            replace it under the same name, None to remove it. A shared layer is passed once.

    A new layer that is not built gets the old one's weights if all shapes agree; otherwise it starts with fresh
    weights, which is logged. A new layer that is built keeps its own.

    Raises:
        ValueError: `change` returned something else, or None for a layer with several inputs.

    Example:

    >>> import keras, keras_cnns
    >>> def smooth(layer):
    ...     relu = isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu
    ...     return keras.layers.Activation("silu") if relu else layer
    >>> model = swap(keras_cnns.ResNet20(), smooth)
    >>> model.get_layer("stem_conv_relu").activation.__name__
    'silu'
    """
    editor = GraphEditor(model)
    swap_layers(editor, change)
    return editor.build()


def swap_layers(editor: GraphEditor, change: Callable) -> None:
    """`swap` in a graph editor."""
    answers: dict[int, object] = {}
    for node in list(editor.nodes()):
        old = node.layer
        if not isinstance(old, keras.layers.Layer):
            continue
        if id(old) not in answers:
            answers[id(old)] = change(old)
        new = answers[id(old)]
        if new is old:
            continue
        if new is None:
            if len(node.inputs) != 1 or len(node.outputs) != 1:
                raise ValueError(f"only a layer with one input and one output can be removed, got {old.name!r}")
            editor.bypass(node)
        elif isinstance(new, keras.layers.Layer):
            node.changes = {"name": node.name}
            known = inspect.signature(new.call).parameters  # Keras records mask=None where the old one takes masks
            node.kwargs = {key: value for key, value in node.kwargs.items() if key in known}
            node.layer, node.kind, node.source = new, type(new), new if new.weights else old
        else:
            raise ValueError(f"change must return a layer or None, got {new!r} for {old.name!r}")
