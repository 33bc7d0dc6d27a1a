"""Greedy non-maximum suppression with a fixed number of answers.

On TensorFlow it is the kernel `NonMaxSuppressionV4`, which XLA and TFLite have, too; elsewhere a loop.
"""

import keras
from keras import ops

from keras_cnns.detection.boxes import iou


def select(boxes, scores, limit: int, overlap: float, threshold: float):
    """The best boxes, the best first, without those that overlap a better one by an IoU above `overlap`.

    Args:
        boxes: (n, m, 4); scores: (n, m).
        limit: answers of each image.
        threshold: boxes that do not score more are left out.

    Returns:
        Indices (n, limit), int32, and which of them mean a box (n, limit), bool; the others are 0.

    >>> import numpy as np
    >>> boxes = np.array([[[0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12]]], "float32")
    >>> chosen, good = select(boxes, np.array([[0.6, 0.9, 0.2]], "float32"), 3, 0.5, 0.0)
    >>> np.asarray(chosen).tolist(), np.asarray(good).tolist()
    ([[1, 2, 0]], [[True, True, False]])
    """
    boxes, scores = (ops.cast(ops.stop_gradient(ops.convert_to_tensor(x)), "float32") for x in (boxes, scores))
    by = _by_kernel if keras.backend.backend() == "tensorflow" else _by_loop
    return by(boxes, scores, limit, overlap, threshold)


def _by_kernel(boxes, scores, limit, overlap, threshold):
    import tensorflow as tf

    def one(pair):
        chosen, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=pair[0],
            scores=pair[1],
            max_output_size=limit,
            iou_threshold=overlap,
            score_threshold=threshold,
            pad_to_max_output_size=True,
        )
        return chosen, tf.range(limit) < count

    if boxes.shape[0] is None:
        spec = (tf.TensorSpec((limit,), tf.int32), tf.TensorSpec((limit,), tf.bool))
        return tf.map_fn(one, (boxes, scores), fn_output_signature=spec)
    found = [one(pair) for pair in zip(tf.unstack(boxes), tf.unstack(scores), strict=True)]
    chosen, good = (tf.stack(x) for x in zip(*found, strict=True))
    return tf.ensure_shape(chosen, (None, limit)), tf.ensure_shape(good, (None, limit))


def _by_loop(boxes, scores, limit, overlap, threshold):
    n = scores.shape[0]
    left = ops.where(scores > threshold, scores, -1e30)
    chosen, good = ops.zeros((n, limit), "int32"), ops.zeros((n, limit), "bool")

    def take(i, state):
        left, chosen, good = state
        best = ops.cast(ops.argmax(left, axis=1), "int32")
        found = ops.max(left, axis=1) > -1e30
        box = ops.take_along_axis(boxes, best[:, None, None], axis=1)
        gone = (iou(box, boxes)[:, 0] > overlap) | (ops.arange(scores.shape[1])[None] == best[:, None])
        here = (ops.arange(limit) == i)[None]
        chosen = ops.where(here & found[:, None], best[:, None], chosen)
        return ops.where(gone, -1e30, left), chosen, good | (here & found[:, None])

    _, chosen, good = ops.fori_loop(0, limit, take, (left, chosen, good))
    return chosen, good
