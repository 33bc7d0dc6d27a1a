"""The resizing and crop with which a published accuracy was measured."""

from dataclasses import dataclass
from typing import Literal

from keras_cnns.values import Count, Value
from training.data.pillow_ops import round_to_uint8


@dataclass(frozen=True)
class EvalTransform(Value):
    """Resizes the shorter side to `shorter` pixels, then crops the central square, as torchvision and timm do.

    uint8 (b, h, w, c) -> uint8 (b, size, size, c). Resizing is antialiased, as in Pillow; without that, accuracies
    are lower than published.

    >>> import numpy as np
    >>> EvalTransform(224, 256)(np.zeros((1, 375, 500, 3), "uint8")).shape
    TensorShape([1, 224, 224, 3])
    """

    size: Count
    shorter: Count
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def check(self):
        if self.shorter < self.size:
            raise ValueError(f"shorter must be at least the crop of {self.size} pixels, got {self.shorter}")

    def __call__(self, images):
        import tensorflow as tf

        images = tf.convert_to_tensor(images)
        sides = tf.shape(images)[1:3]
        sides = sides * self.shorter // tf.reduce_min(sides)  # the longer side is truncated, not rounded
        images = round_to_uint8(tf.image.resize(images, sides, self.interpolation, antialias=True))
        half = (sides - self.size) // 2
        top, left = tf.unstack(half + (sides - self.size) % 2 * (half % 2))  # half a pixel is rounded to even
        images = images[:, top : top + self.size, left : left + self.size]
        return tf.ensure_shape(images, (None, self.size, self.size, images.shape[-1]))
