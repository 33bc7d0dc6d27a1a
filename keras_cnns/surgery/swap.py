"""Other layers in a finished network: another activation, norm or pooling, without a socket for each."""

import inspect
from collections.abc import Callable

import keras

from keras_cnns.surgery.draft import Draft


def swap(model: keras.Model, change: Callable) -> keras.Model:
    """A copy of a model in which every layer is what `change` says. The original stays as it is.

    Args:
        model: any functional or Sequential model; models nested in it are laid open.
        change: layer -> layer. The same layer back keeps it (as a copy, weights included), another layer takes its
            place and its name, None leaves it out. A layer that is used twice is asked about once.

    A new layer that is not built yet takes over the old one's weights where all their shapes agree; else it starts
    with fresh ones, and the log says so. A new layer that is built keeps its own.

    Raises:
        ValueError: `change` gave something else, or left out a layer with several inputs.

    Example:

    >>> import keras, keras_cnns
    >>> def smooth(layer):
    ...     relu = isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu
    ...     return keras.layers.Activation("silu") if relu else layer
    >>> model = swap(keras_cnns.ResNet20(), smooth)
    >>> model.get_layer("stem_conv_relu").activation.__name__
    'silu'
    """
    draft = Draft(model)
    exchange(draft, change)
    return draft.build()


def exchange(draft: Draft, change: Callable) -> None:
    """`swap` on a draft."""
    answers: dict[int, object] = {}
    for step in list(draft.steps()):
        old = step.layer
        if not isinstance(old, keras.layers.Layer):
            continue
        if id(old) not in answers:
            answers[id(old)] = change(old)
        new = answers[id(old)]
        if new is old:
            continue
        if new is None:
            if len(step.inputs) != 1 or len(step.outputs) != 1:
                raise ValueError(f"only a layer of one input and one output can be left out; {old.name!r} is not")
            draft.skip(step)
        elif isinstance(new, keras.layers.Layer):
            step.changes = {"name": step.name}
            known = inspect.signature(new.call).parameters  # Keras notes mask=None where the old one takes masks
            step.kwargs = {key: value for key, value in step.kwargs.items() if key in known}
            step.layer, step.kind, step.source = new, type(new), new if new.weights else old
        else:
            raise ValueError(f"change must give a layer or None; {new!r} came for {old.name!r}")
