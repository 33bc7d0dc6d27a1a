"""Kernels of the first layer, and their colour saturation."""

import keras
import numpy as np

from keras_cnns import graph


def first_filters(model: keras.Model) -> np.ndarray:
    """The kernels of the first convolution, (height, width, channels, filters); towers are concatenated.

    Raises:
        ValueError: the model has no convolution.

    Example:

    >>> import keras_cnns
    >>> first_filters(keras_cnns.ResNet20()).shape
    (3, 3, 3, 16)
    """
    nodes, _ = graph.trace(model)
    layers = [node.layer for node in nodes if isinstance(node.layer, keras.layers.Conv2D)]
    if not layers:
        raise ValueError(f"{model.name!r} has no convolution")
    stem = layers[0].name.partition("_tower")[0]
    both = [la for la in layers if la is layers[0] or la.name.startswith(f"{stem}_tower")]
    return np.concatenate([keras.ops.convert_to_numpy(la.kernel) for la in both], axis=-1)


def saturation(kernel: np.ndarray) -> np.ndarray:
    """Colour saturation of each kernel of three input channels, from 0 (grey) to 1 (no brightness).

    It is the fraction of a kernel's energy that remains after subtracting each pixel's mean over the channels.

    >>> grey, red_against_green = np.ones((1, 1, 3, 1)), np.array([1.0, -1.0, 0.0]).reshape(1, 1, 3, 1)
    >>> saturation(np.concatenate([grey, red_against_green], axis=-1)).round(6).tolist()
    [0.0, 1.0]
    """
    if kernel.ndim != 4 or kernel.shape[2] != 3:
        raise ValueError(f"kernel must have shape (height, width, 3, filters), got {kernel.shape}")
    coloured = kernel - kernel.mean(axis=2, keepdims=True)
    whole = np.square(kernel, dtype="float64").sum(axis=(0, 1, 2))
    return np.square(coloured, dtype="float64").sum(axis=(0, 1, 2)) / np.maximum(whole, 1e-30)


def towers(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """The first layer's kernels of the two towers of the AlexNet of 2012, half of the filters each.

    Raises:
        ValueError: the second convolution does not have two groups.
    """
    nodes, _ = graph.trace(model)
    layers = [node.layer for node in nodes if isinstance(node.layer, keras.layers.Conv2D)]
    if len(layers) < 2 or not (layers[0].name.endswith("_tower1") or getattr(layers[1], "groups", 1) == 2):
        raise ValueError(f"{model.name!r} does not have the two towers of the AlexNet of 2012")
    return tuple(np.split(first_filters(model), 2, axis=-1))
