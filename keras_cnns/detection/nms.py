"""Greedy non-maximum suppression with a fixed number of results.

On TensorFlow it uses the kernel `NonMaxSuppressionV4`, which XLA and TFLite support; on other backends a loop.
"""

import keras
from keras import ops

from keras_cnns.detection.boxes import iou


def select(boxes, scores, limit: int, overlap: float, threshold: float):
    """The best boxes by descending score, without those with an IoU above `overlap` with a better one.

    Args:
        boxes: (n, m, 4); scores: (n, m).
        limit: number of results per image.
        threshold: only boxes with a higher score are used.

    Returns:
        Indices (n, limit), int32, and whether each is a box (n, limit), bool; the other indices are 0.

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
