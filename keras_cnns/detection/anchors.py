"""Anchors: reference boxes of a region proposal network at each cell of the map."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from keras import ops

from keras_cnns.values import Count, Positive, Range, Value, by_name


@dataclass(frozen=True)
class Anchors(Value):
    """Boxes of all sizes and ratios at every cell, as in detectron2 and torchvision.

    Attributes:
        sizes: square roots of the areas, in pixels.
        ratios: height over width.
        stride: pixels between cells.
        offset: of the first centre from the corner of the image, in strides.

    >>> Anchors((16,), (1.0,)).base().tolist()
    [[-8.0, -8.0, 8.0, 8.0]]
    """

    sizes: tuple[Positive, ...] = (32, 64, 128, 256, 512)
    ratios: tuple[Positive, ...] = (0.5, 1.0, 2.0)
    stride: Count = 16
    offset: Annotated[float, Range(0, 1)] = 0.0

    @property
    def count(self) -> int:
        """Number of anchors per cell."""
        return len(self.sizes) * len(self.ratios)

    def base(self) -> np.ndarray:
        """The anchors of the first cell, float32 (count, 4): all ratios of a size, then those of the next."""
        area = np.square(np.array(self.sizes, "float64"))[:, None]
        width = np.sqrt(area / np.array(self.ratios)).ravel()
        height = width * np.tile(self.ratios, len(self.sizes))
        corners = np.stack([-width, -height, width, height], axis=1) / 2
        return (corners + self.offset * self.stride).astype("float32")

    def __call__(self, height, width):
        """The anchors of a map of height x width cells, (height * width * count, 4), row by row."""
        x, y = ops.meshgrid(ops.arange(width), ops.arange(height))
        corner = ops.cast(ops.reshape(ops.stack([x, y, x, y], axis=-1), (-1, 1, 4)) * self.stride, "float32")
        return ops.reshape(corner + self.base(), (-1, 4))


@dataclass(frozen=True)
class RoundedAnchors(Anchors):
    """The anchors of the paper's code (py-faster-rcnn): the sides for one cell are rounded, then scaled.

    That code includes the last pixel: its (x1, y1, x2, y2) is (x1, y1, x2 + 1, y2 + 1) here.

    >>> RoundedAnchors((128,), (0.5,)).base().tolist()
    [[-84.0, -40.0, 100.0, 56.0]]
    """

    sizes: tuple[Positive, ...] = (128, 256, 512)

    def base(self) -> np.ndarray:
        ratios = np.array(self.ratios, "float64")
        width = np.rint(np.sqrt(self.stride**2 / ratios))
        height = np.rint(width * ratios)
        scales = np.repeat(np.array(self.sizes) / self.stride, len(ratios))
        sides = np.stack([np.tile(width, len(self.sizes)), np.tile(height, len(self.sizes))], axis=1)
        half = sides * scales[:, None] / 2
        return np.concatenate([self.stride / 2 - half, self.stride / 2 + half], axis=1).astype("float32")


PARTS = by_name((Anchors, RoundedAnchors))
