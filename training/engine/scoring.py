"""Logits of whole splits, on one device, and the figures made from them."""

import keras
import numpy as np

from keras_cnns.deep import deep_recursion
from training.report.evaluation import confusion, scores


def logits_model(model: keras.Model) -> keras.Model:
    """The model up to its logits, before the activation of the classes."""
    with deep_recursion():
        return keras.Model(model.inputs, model.get_layer("logits").output)


def forward(model: keras.Model):
    """images -> outputs in inference mode, as one graph for any batch size."""
    import tensorflow as tf

    shape = (None, *model.inputs[0].shape[1:])
    return tf.function(
        lambda images: model(images, training=False), input_signature=[tf.TensorSpec(shape, tf.float32)]
    )


def outputs_of(run, batches) -> tuple[np.ndarray, np.ndarray]:
    """(outputs, labels) over a Dataset of batches, by a function that `forward` made."""
    got = [(np.asarray(run(images)), np.asarray(labels)) for images, labels in batches]
    return np.concatenate([o for o, _ in got]), np.concatenate([y for _, y in got])


def measure(logits: np.ndarray, labels: np.ndarray, loss: keras.losses.Loss) -> dict:
    """loss, top1, top5 and n of logits, as `result.json` has them."""
    each = loss.call(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(logits))
    return scores(logits, labels, np.asarray(each))


def confusion_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Confusion matrix (true class, predicted class)."""
    return confusion(labels, logits.argmax(axis=1), logits.shape[1])


def ensemble(members: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """(logits, labels) of several networks on the same images: the logarithm of their mean probabilities."""
    logits, labels = members[0]
    if len(members) == 1:
        return logits, labels
    probabilities = np.mean([np.asarray(keras.ops.softmax(m)) for m, _ in members], axis=0)
    return np.log(np.maximum(probabilities, np.finfo("float32").tiny)), labels
