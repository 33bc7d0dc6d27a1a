"""Erasing augmentation: RandomErasing and Cutout fill a rectangle of each image."""

from dataclasses import dataclass
from typing import Annotated, Literal

from keras_cnns.values import Count, Fraction, Range, Value
from training.data.stateless_random import check_low_high, integers, random_bytes, rescale

Side = Annotated[float, Range(0.01, 100)]
Level = Annotated[float, Range(0, 255)]


@dataclass(frozen=True)
class RandomErasing(Value):
    """Fills a random rectangle, with probability `probability` (Zhong et al. 2017, algorithm 1).

    `area` is the range of its fraction of the area, `aspect` that of height / width, both uniform as published.
    `fill` is "random" (a random number from 0 to 255 for each pixel and channel) or a level for all. A rectangle
    higher or wider than the image is clipped; the paper draws again, which would need a loop.
    """

    probability: Fraction = 0.5
    area: tuple[Fraction, Fraction] = (0.02, 0.4)
    aspect: tuple[Side, Side] = (0.3, 3.33)
    fill: Literal["random"] | Level = "random"

    def check(self):
        check_low_high(self, "area", "aspect")

    def __call__(self, images, draw):
        import tensorflow as tf

        height, width = images.shape[1:3]
        area = height * width * rescale(self.area, draw(1))
        aspect = rescale(self.aspect, draw(2))
        rows = tf.clip_by_value(tf.round(tf.sqrt(area * aspect)), 1, height)
        columns = tf.clip_by_value(tf.round(tf.sqrt(area / aspect)), 1, width)
        top, left = integers(draw(3), height - rows + 1), integers(draw(4), width - columns + 1)
        rows = tf.where(draw(0) < self.probability, tf.cast(rows, tf.int32), 0)
        inside = rectangle_mask(images, top, left, rows, tf.cast(columns, tf.int32))
        if self.fill != "random":
            return tf.where(inside, tf.cast(self.fill, images.dtype), images)
        places = tf.cast(tf.where(inside[..., 0]), tf.int32)
        image, row, column = tf.unstack(places, axis=1)
        channels = images.shape[-1]
        values = ((row * width + column) * channels)[:, None] + tf.range(channels)
        noise = random_bytes(tf.gather(draw(5), image)[:, None], values)
        return tf.tensor_scatter_nd_update(images, places, tf.cast(noise, images.dtype))


@dataclass(frozen=True)
class Cutout(Value):
    """Fills a square of `side` pixels around a random pixel (DeVries and Taylor 2017, section 3).

    The square is clipped to the image, as published. The paper fills it with the data's mean, which is unknown
    here, so the default is a middle grey.
    """

    side: Count = 16
    fill: Level = 128.0

    def __call__(self, images, draw):
        import tensorflow as tf

        images = tf.convert_to_tensor(images)
        height, width = images.shape[1:3]
        top, left = (integers(draw(k), size) - self.side // 2 for k, size in ((0, height), (1, width)))
        inside = rectangle_mask(images, top, left, self.side, self.side)
        return tf.where(inside, tf.cast(self.fill, images.dtype), images)


def rectangle_mask(images, top, left, rows, columns):
    """bool (b, h, w, 1): True inside the rectangle."""
    import tensorflow as tf

    def between(size, first, count):
        places = tf.range(size)
        first = first[:, None]
        last = first + (count if isinstance(count, int) else count[:, None])
        return (places >= first) & (places < last)

    height, width = images.shape[1:3]
    return (between(height, top, rows)[:, :, None] & between(width, left, columns)[:, None])[..., None]
