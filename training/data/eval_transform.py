"""The view of an image that a published accuracy was measured on."""

from dataclasses import dataclass
from typing import Literal

from keras_cnns.values import Count, Value
from training.data.pillow_ops import as_bytes


@dataclass(frozen=True)
class EvalTransform(Value):
    """The shorter side to `shorter` pixels, then the middle square: as torchvision and timm count.

    uint8 (b, h, w, c) -> uint8 (b, size, size, c). Shrinking averages over all pixels (antialias), as Pillow does;
    without, accuracies are lower than published.

    >>> import numpy as np
    >>> View(224, 256)(np.zeros((1, 375, 500, 3), "uint8")).shape
    TensorShape([1, 224, 224, 3])
    """

    size: Count
    shorter: Count
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def check(self):
        if self.shorter < self.size:
            raise ValueError(f"a crop of {self.size} needs a shorter side of at least that; {self.shorter} came")

    def __call__(self, images):
        import tensorflow as tf

        images = tf.convert_to_tensor(images)
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        least = tf.minimum(height, width)
        sides = [side * self.shorter // least for side in (height, width)]  # the longer side is cut, not rounded
        images = as_bytes(tf.image.resize(images, sides, self.interpolation, antialias=True))
        top, left = (self._edge(side) for side in sides)
        images = images[:, top : top + self.size, left : left + self.size]
        return tf.ensure_shape(images, (None, self.size, self.size, images.shape[-1]))

    def _edge(self, side):
        """Half of what is left over; a half pixel is rounded to the even one, as Python rounds."""
        half = (side - self.size) // 2
        return half + (side - self.size) % 2 * (half % 2)
