"""Boxes as (x1, y1, x2, y2) in continuous coordinates: the first pixel is (0, 0, 1, 1). Shapes (..., 4).

IoU, deltas and their inverse use `keras.utils.bounding_boxes` with the conventions of Faster R-CNN.
"""

import math

from keras import ops
from keras.utils import bounding_boxes

# Maximum of tw and th: a box at most 62.5 times as wide or high as its region (detectron2, torchvision).
MOST_GROWTH = math.log(1000 / 16)
CENTRES = "center_xywh"


def iou(one, other):
    """Intersection over union of each of (m, 4) or (n, m, 4) with each of (k, 4) or (n, k, 4): (.., m, k).

    >>> import numpy as np
    >>> a, b = np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 3.0, 2.0]])
    >>> round(float(iou(a, b)[0, 0]), 4)
    0.3333
    """
    return bounding_boxes.compute_iou(one, other, "xyxy")


def encode(boxes, seen_from, scale=(1.0, 1.0, 1.0, 1.0)):
    """The deltas (tx, ty, tw, th) of boxes relative to anchors or regions, divided by `scale`."""
    return bounding_boxes.encode_box_to_deltas(seen_from, boxes, "xyxy", "xyxy", CENTRES, variance=scale)


def decode(deltas, seen_from, scale=(1.0, 1.0, 1.0, 1.0)):
    """The boxes of deltas: the inverse of `encode`, with bounded growth.

    >>> import numpy as np
    >>> anchor, box = np.array([[0.0, 0.0, 16.0, 16.0]]), np.array([[4.0, 2.0, 12.0, 30.0]])
    >>> [round(float(v), 3) for v in decode(encode(box, anchor), anchor)[0]]
    [4.0, 2.0, 12.0, 30.0]
    """
    scale = ops.convert_to_tensor(scale, "float32")
    centre, growth = ops.split(deltas * scale, 2, axis=-1)
    deltas = ops.concatenate([centre, ops.minimum(growth, MOST_GROWTH)], axis=-1)
    return bounding_boxes.decode_deltas_to_boxes(seen_from, deltas, "xyxy", "xyxy", CENTRES)


def clip(boxes, extent):
    """Boxes (n, k, 4) clipped to their images; `extent` is (n, 2), height and width."""
    limit = ops.flip(extent, axis=-1)
    limit = ops.concatenate([limit, limit], axis=-1)[:, None]
    return ops.minimum(ops.maximum(boxes, 0.0), limit)


def sides(boxes):
    """(width, height) of boxes (..., 4), each (...)."""
    return boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]


def rows(x, indices):
    """x[i, indices[i]] of (n, m, ...) and (n, k): (n, k, ...)."""
    n, m = ops.shape(x)[:2]  # one gather from a flat table; `take_along_axis` would transpose all of x
    flat = ops.reshape(x, (-1, *x.shape[2:]))
    return ops.take(flat, indices + (ops.arange(n) * m)[:, None], axis=0)
