"""Pooling of regions to a fixed size: RoIPool (Girshick 2015) and RoIAlign (He et al. 2017).

Both work in pieces, so that the intermediates of 300 regions and a map of 38 x 63 x 1024 are never in memory at
once. Both use only matrix products, gathers and maxima, which every backend, XLA and TFLite support.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from keras import ops

from keras_cnns.detection.boxes import rows
from keras_cnns.values import Count, Range, Value, by_name

PIECE = 2**25  # maximum size of an intermediate of one piece, in numbers


def in_pieces(make, regions, size: int):
    """`make` of regions (n, k, 4), in pieces of at most `PIECE` numbers (`size` for each region); (n * k, ...)."""
    n, k = regions.shape[:2]
    step = max(1, PIECE // (size * (n or 1)))
    parts = [make(regions[:, i : i + step]) for i in range(0, k, step)]
    whole = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)
    return ops.reshape(whole, (-1, *whole.shape[2:]))


@dataclass(frozen=True)
class RoIAlign(Value):
    """Means over bins of bilinear samples, nothing rounded (He et al. 2017, arXiv 1703.06870; `aligned`).

    The mean over a grid of bilinear samples is a product of the map with two small matrices, one for each axis:
    `size` x height and width x `size`.

    Attributes:
        size: side of the output in cells.
        samples: samples along a side of a bin; 0 for as many as the bin has cells, rounded up (detectron2).
    """

    size: Count = 14
    samples: Annotated[int, Range(0, 16)] = 2

    def __call__(self, maps, regions, stride: int):
        """Maps (n, h, w, c), regions (n, k, 4) in pixels -> (n * k, size, size, c)."""
        _, h, w, c = ops.shape(maps)
        p = self.size

        def make(some):
            k = some.shape[1]
            down = self._weights(some[..., 1], some[..., 3], stride, h, maps.shape[1])
            across = self._weights(some[..., 0], some[..., 2], stride, w, maps.shape[2])
            rows = ops.matmul(ops.reshape(down, (-1, k * p, h)), ops.reshape(maps, (-1, h, w * c)))
            return ops.matmul(across[:, :, None], ops.reshape(rows, (-1, k, p, w, c)))

        known = maps.shape[2] or 64
        return in_pieces(make, regions, p * known * c)

    def _weights(self, low, high, stride, cells, known):
        """The weight of each cell of an axis in each bin, (n, k, size, cells)."""
        start = low / stride - 0.5
        side = (high - low) / stride / self.size
        most = self.samples or math.ceil((known or 64 * self.size) / self.size)
        used = ops.full_like(side, self.samples) if self.samples else ops.maximum(ops.ceil(side), 1.0)
        used = used[..., None, None]
        sample = ops.arange(most, dtype="float32")
        bins = ops.arange(self.size, dtype="float32")[:, None]
        place = start[..., None, None] + side[..., None, None] * (bins + (sample + 0.5) / used)
        last = ops.cast(cells, "float32")
        counted = (sample < used) & (place >= -1) & (place <= last)
        place = ops.clip(place, 0.0, last - 1)[..., None]
        tent = ops.maximum(1 - ops.abs(place - ops.arange(cells, dtype="float32")), 0.0)
        return ops.sum(ops.where(counted[..., None], tent, 0.0), axis=-2) / used


@dataclass(frozen=True)
class RoIPool(Value):
    """The maximum of each bin, whose borders are rounded to cells (Girshick 2015, arXiv 1504.08083).

    The maxima over windows of 1, 2, 4, ... cells down and across are computed once; the maximum of a bin is that
    of four windows that cover it.

    Attributes:
        size: side of the output in cells.
    """

    size: Count = 14

    def __call__(self, maps, regions, stride: int):
        """Maps (n, h, w, c), regions (n, k, 4) in pixels -> (n * k, size, size, c)."""
        _, h, w, c = ops.shape(maps)
        levels = [_levels(side, self.size) for side in maps.shape[1:3]]
        table = _maxima(maps, *levels)  # (n, levels down * levels across * h * w, c)

        def make(some):
            top, bottom = self._bins(some[..., 1], some[..., 3], stride, h)
            left, right = self._bins(some[..., 0], some[..., 2], stride, w)
            down, above, below = _covered(top, bottom, levels[0])
            across, ahead, behind = _covered(left, right, levels[1])
            level = (down[..., :, None] * levels[1] + across[..., None, :]) * h
            corners = [
                ops.reshape((level + y[..., :, None]) * w + x[..., None, :], (-1, some.shape[1] * self.size**2))
                for y in (above, below)
                for x in (ahead, behind)
            ]
            found = rows(table, corners[0])
            for corner in corners[1:]:
                found = ops.maximum(found, rows(table, corner))
            found = ops.reshape(found, (-1, some.shape[1], self.size, self.size, c))
            full = (bottom > top)[..., :, None] & (right > left)[..., None, :]
            return ops.where(full[..., None], found, 0.0)

        return in_pieces(make, regions, self.size**2 * c)

    def _bins(self, low, high, stride, cells):
        """First cell and end of each bin along an axis, int32 (n, k, size)."""
        start, last = (ops.floor(x / stride + 0.5) for x in (low, high))
        side = ops.maximum(last - start + 1, 1.0)[..., None] / self.size
        bins = ops.arange(self.size, dtype="float32")
        edges = ops.floor(bins * side), ops.ceil((bins + 1) * side)
        return [ops.cast(ops.clip(e + start[..., None], 0.0, ops.cast(cells, "float32")), "int32") for e in edges]


def _levels(cells: int | None, size: int) -> int:
    """Number of window sizes that the largest bin of an axis needs."""
    widest = math.ceil((cells or 1024) / size) + 2
    return min(widest.bit_length(), (cells or 1024).bit_length())


def _maxima(maps, down: int, across: int):
    """Maxima over 2^i cells down and 2^j across, starting at every cell, for all i and j."""
    tables, rows = [], maps
    for i in range(down):
        if i:
            rows = ops.maximum(rows, _moved(rows, 2 ** (i - 1), 1))
        both = rows
        for j in range(across):
            if j:
                both = ops.maximum(both, _moved(both, 2 ** (j - 1), 2))
            tables.append(both)
    _, h, w, c = ops.shape(maps)
    return ops.reshape(ops.stack(tables, axis=1), (-1, down * across * h * w, c))


def _moved(x, by: int, axis: int):
    """x[.. + by] along an axis; at the end x itself, which does not change the maximum of the window."""
    if axis == 1:
        return ops.concatenate([x[:, by:], x[:, -by:]], axis=1)
    return ops.concatenate([x[:, :, by:], x[:, :, -by:]], axis=2)


def _covered(start, end, levels: int):
    """Level of the window size of which two cover [start, end), and the first cells of the two."""
    length = end - start
    level = sum((ops.cast(length >= 2**i, "int32") for i in range(1, levels)), 0 * length)
    window = ops.sum(ops.cast(level[..., None] == ops.arange(levels), "int32") * _powers(levels), axis=-1)
    first = ops.maximum(ops.minimum(start, end - 1), 0)
    return level, first, ops.maximum(end - window, first)


def _powers(levels: int):
    return ops.convert_to_tensor([2**i for i in range(levels)], "int32")


PARTS = by_name((RoIAlign, RoIPool))
