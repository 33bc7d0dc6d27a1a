"""NumPy loops for what the detector does in matrices: slow, and plain to see."""

import math

import numpy as np


def iou(a, b) -> float:
    sides = [max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1)]
    both = sides[0] * sides[1]
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def nms(boxes, scores, limit, overlap, threshold) -> list[int]:
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > threshold and all(iou(boxes[i], boxes[j]) <= overlap for j in kept):
            kept.append(int(i))
    return kept[:limit]


def roi_pool(maps, box, size, stride):
    """(size, size, c): the largest value of every bin of rounded borders, 0 where a bin has no cell."""
    h, w, c = maps.shape
    x1, y1, x2, y2 = (math.floor(v / stride + 0.5) for v in box)
    high, wide = max(y2 - y1 + 1, 1) / size, max(x2 - x1 + 1, 1) / size
    out = np.zeros((size, size, c), "float32")
    for i in range(size):
        for j in range(size):
            # As many digits as the references carry, or a border that should be whole is rounded up.
            top, bottom = np.float32(i) * np.float32(high), np.float32(i + 1) * np.float32(high)
            left, right = np.float32(j) * np.float32(wide), np.float32(j + 1) * np.float32(wide)
            rows = range(max(math.floor(top) + y1, 0), min(math.ceil(bottom) + y1, h))
            columns = range(max(math.floor(left) + x1, 0), min(math.ceil(right) + x1, w))
            if len(rows) and len(columns):
                out[i, j] = maps[rows.start : rows.stop, columns.start : columns.stop].max((0, 1))
    return out


def bilinear(maps, y, x):
    h, w, _ = maps.shape
    if not (-1 <= y <= h and -1 <= x <= w):
        return 0.0
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
    v, u = y - top, x - left
    above = maps[top, left] * (1 - u) + maps[top, right] * u
    below = maps[bottom, left] * (1 - u) + maps[bottom, right] * u
    return above * (1 - v) + below * v


def roi_align(maps, box, size, stride, samples):
    x1, y1, x2, y2 = (v / stride - 0.5 for v in box)
    high, wide = (y2 - y1) / size, (x2 - x1) / size
    down, across = samples or max(math.ceil(high), 1), samples or max(math.ceil(wide), 1)
    out = np.zeros((size, size, maps.shape[-1]), "float32")
    for i in range(size):
        for j in range(size):
            points = [
                bilinear(maps, y1 + high * (i + (a + 0.5) / down), x1 + wide * (j + (b + 0.5) / across))
                for a in range(down)
                for b in range(across)
            ]
            out[i, j] = np.mean(points, axis=0)
    return out


def random_boxes(chance, n, height, width, least=4.0):
    corners = chance.uniform(0, [width - least, height - least], (n, 2))
    ends = chance.uniform(corners + least, [width, height])
    return np.concatenate([corners, ends], axis=1).astype("float32")
