"""Grad-CAM (Selvaraju et al. 2016, arXiv 1610.02391): the image regions that support a class."""

import keras
import numpy as np

from keras_cnns import graph
from keras_cnns.deep import deep_recursion

SOFTMAX = (keras.layers.Activation, keras.layers.Softmax)


def grad_cam(model: keras.Model, images, classes=None, layer: str | None = None) -> np.ndarray:
    """How much each pixel of the images supports a class: (n, height, width), from 0 to 1, at the images' size.

    The channels of a feature map are weighted by the mean gradient of the class score and summed; negative values
    support other classes and are set to 0; each map is scaled to a maximum of 1.

    Args:
        model: a classifier with a graph; a nested model counts as one layer.
        images: preprocessed, (n, height, width, channels).
        classes: one class for all images or one for each; by default the most probable.
        layer: name of the layer whose output is used; by default the last with a map larger than one cell.

    Raises:
        ValueError: no such layer or map, or the number of classes is not that of the images.
        NotImplementedError: a backend other than TensorFlow.

    Example:

    >>> import keras_cnns
    >>> grad_cam(keras_cnns.ResNet20(), np.zeros((2, 32, 32, 3), "float32"), classes=3).shape
    (2, 32, 32)
    """
    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError(f"grad_cam needs the TensorFlow backend, got {keras.backend.backend()}")
    import tensorflow as tf

    images = tf.cast(images, tf.float32)
    with deep_recursion():
        both = keras.Model(graph.entry(model), [_map(model, layer), _scores(model)])
        with tf.GradientTape() as tape:
            maps, scores = both(images, training=False)
            chosen = _chosen(classes, scores)
            score = tf.gather(scores, chosen, axis=1, batch_dims=1)
        slopes = tape.gradient(score, maps)
    heat = tf.nn.relu(tf.einsum("nhwc,nc->nhw", maps, tf.reduce_mean(slopes, (1, 2))))
    heat = tf.image.resize(heat[..., None], images.shape[1:3])[..., 0]
    return np.asarray(heat / tf.maximum(tf.reduce_max(heat, (1, 2), keepdims=True), 1e-12))


def _chosen(classes, scores) -> np.ndarray:
    if classes is None:
        return np.argmax(scores, axis=1)
    chosen = np.asarray(classes)
    if chosen.ndim == 0:
        chosen = np.full(len(scores), chosen)
    if chosen.shape != (len(scores),) or chosen.min() < 0 or chosen.max() >= scores.shape[1]:
        raise ValueError(f"classes must be from 0 to {scores.shape[1] - 1}, one for each image, got {classes}")
    return chosen


def _map(model: keras.Model, layer: str | None):
    """The feature map to use."""
    nodes, tensors = graph.trace(model)
    for node in nodes[::-1]:
        tensor = tensors[node.outputs[0]]
        if layer is not None and node.layer.name == layer:
            if len(tensor.shape) != 4:
                raise ValueError(f"the output of {layer!r} must be a feature map, got shape {tuple(tensor.shape)}")
            return tensor
        if layer is None and len(tensor.shape) == 4 and 1 not in tensor.shape[1:3]:
            return tensor
    raise ValueError(f"{model.name!r} has {'no feature map' if layer is None else f'no layer {layer!r}'}")


def _scores(model: keras.Model):
    """The class scores before the softmax; after it the gradient depends on differences between classes only."""
    nodes, tensors = graph.trace(model)
    (output,) = [i for i, tensor in enumerate(tensors) if tensor is model.outputs[0]]
    last = next(node for node in nodes if output in node.outputs)
    return tensors[last.inputs[0]] if isinstance(last.layer, SOFTMAX) else model.outputs[0]
