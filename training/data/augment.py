"""Augmentation: parts that change a batch of training images.

A part is called as `part(images, draw)`. `images` is a tensor (b, h, w, c) on the scale 0-255, uint8 or float32;
`draw(k)` is the k-th random number of each image, float32 (b,), uniform in [0, 1). It depends on the seed,
the epoch, the image's index, the part's position and k alone: not on the batch, the order, or who reads.
Here are the parts that move pixels; those that change colours, erase or do both are in files of their own.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from keras_cnns.values import Count, Fraction, Range, Value, by_name
from training.data.colour import ColourJitter, PCANoise
from training.data.erasing import Cutout, RandomErasing
from training.data.policies import AutoAugment, RandAugment
from training.data.stateless_random import exactly, integers, rescale, rising

Side = Annotated[float, Range(0.01, 100)]
Factor = Annotated[float, Range(1, 100)]


@dataclass(frozen=True)
class PadCrop(Value):
    """Pads every side by `pad` pixels and crops the old size at a random place (He et al. 2015, section 4.2).

    `constant` pads with black. Raises ValueError if a reflection is wider than the image.
    """

    pad: Count = 4
    mode: Literal["constant", "reflect"] = "constant"

    def __call__(self, images, draw):
        import tensorflow as tf

        height, width = images.shape[1:3]
        if self.mode == "reflect" and self.pad >= min(height, width):
            raise ValueError(f"PadCrop reflects at most {min(height, width) - 1} pixels here; pad={self.pad} came")
        padded = tf.pad(images, ((0, 0), (self.pad,) * 2, (self.pad,) * 2, (0, 0)), self.mode)
        rows = integers(draw(0), 2 * self.pad + 1)[:, None] + tf.range(height)
        columns = integers(draw(1), 2 * self.pad + 1)[:, None] + tf.range(width)
        return tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


@dataclass(frozen=True)
class Flip(Value):
    """Mirrors left and right every second image, by chance."""

    mirrors: ClassVar[bool] = True

    def __call__(self, images, draw):
        return mirrored(images, draw(0) < 0.5)


@dataclass(frozen=True)
class AlternatingFlip(Value):
    """Mirrors each image in every second epoch; in the even or the odd ones, chance decides once (Jordan 2024).

    Two epochs show every image both ways; by independent chances half of them would be seen the same way twice.
    """

    mirrors: ClassVar[bool] = True

    def __call__(self, images, draw):
        import tensorflow as tf

        first = tf.cast(draw.always(0) < 0.5, tf.int64)
        turned = (first + tf.cast(draw.epoch, tf.int64)) % 2 == 1
        return mirrored(images, turned)


def mirrored(images, which):
    """(b, h, w, c) with left and right exchanged in the images that `which`, bool (b,), names.

    TensorFlow's kernels have a fast way for rows (n, w, 3), and for choosing whole images, which `tf.where` with
    a broadcast condition misses: together five times the speed.
    """
    import tensorflow as tf

    rows = tf.reshape(images, (-1, *images.shape[2:]))
    turned = tf.reshape(tf.reverse(rows, [1]), tf.shape(images))
    return tf.ensure_shape(tf.raw_ops.Select(condition=which, x=turned, y=images), images.shape)


def scaled(window, size):
    """The window (h, w, c) in `size` = (height, width), float32: pixels averaged over their area where it shrinks
    both ways, interpolated linearly otherwise.

    Pillow's widened triangle takes twice as long as decoding the JPEG, an average a quarter of that.
    """
    import tensorflow as tf

    shape = tf.shape(window)
    shrinks = tf.logical_and(shape[0] > size[0], shape[1] > size[1])
    return tf.cond(
        shrinks,
        lambda: tf.image.resize(window, size, method="area"),
        lambda: tf.image.resize(window, size),
    )


class Window(Value):
    """Base of the parts that train on a part of the image, resized.

    The pipeline asks for `window` before it decodes, so such a part must come first.
    """

    draws: ClassVar[int] = 4

    def window(self, height, width, draw):
        """int32 tensor (4, b): top, left, height, width of each image's window. Sizes are in pixels.

        It may ask for draw(0) to draw(draws - 1).
        """
        raise NotImplementedError

    def __call__(self, images, draw):
        """The windows of a batch, resized to the batch's own size."""
        import tensorflow as tf

        height, width = images.shape[1:3]

        def crop(pair):
            image, (top, left, rows, columns) = pair[0], tf.unstack(pair[1])
            return scaled(image[top : top + rows, left : left + columns], (height, width))

        windows = tf.transpose(self.window(height, width, draw))
        resized = tf.map_fn(crop, (images, windows), fn_output_signature=tf.float32)
        return tf.ensure_shape(resized, images.shape)


@dataclass(frozen=True)
class InceptionCrop(Window):
    """A random part of the image, resized (Szegedy et al. 2014, section 6).

    `area` is the range of the part's share of the area, `aspect` the range of width / height, drawn evenly in its
    logarithm. A window that sticks out of the image is cut to it; the paper's users draw again instead, which
    would need a loop.
    """

    area: tuple[Annotated[float, Range(0.001, 1)], Annotated[float, Range(0.001, 1)]] = (0.08, 1.0)
    aspect: tuple[Side, Side] = (3 / 4, 4 / 3)

    def check(self):
        rising(self, "area", "aspect")

    def window(self, height, width, draw):
        import tensorflow as tf

        height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
        area = height * width * rescale(self.area, draw(0))
        aspect = exactly(tf.exp, rescale(tuple(map(math.log, self.aspect)), draw(1)))
        rows = tf.clip_by_value(tf.round(tf.sqrt(area / aspect)), 1, height)
        columns = tf.clip_by_value(tf.round(tf.sqrt(area * aspect)), 1, width)
        top, left = integers(draw(2), height - rows + 1), integers(draw(3), width - columns + 1)
        return tf.stack([top, left, tf.cast(rows, tf.int32), tf.cast(columns, tf.int32)])


@dataclass(frozen=True)
class ScaleCrop(Window):
    """The shorter side scaled to a multiple of the training size, then a random square of the training size.

    The multiple is even in [low, high]: 256/224 fixed is AlexNet's (Krizhevsky et al. 2012, section 4.1), 256/224
    to 512/224 VGG's scale jitter (Simonyan and Zisserman 2014, section 3.1), to 480/224 ResNet's (He et al. 2015,
    section 3.4). Cropped before it is scaled: a square of the shorter side / multiple, in whole pixels.
    """

    low: Factor = 256 / 224
    high: Factor = 256 / 224

    def check(self):
        if self.low > self.high:
            raise ValueError(f"ScaleCrop needs low <= high; {self.low:g} and {self.high:g} came")

    def window(self, height, width, draw):
        import tensorflow as tf

        height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
        side = tf.maximum(tf.round(tf.minimum(height, width) / rescale((self.low, self.high), draw(0))), 1)
        top, left = integers(draw(1), height - side + 1), integers(draw(2), width - side + 1)
        return tf.stack([top, left, tf.cast(side, tf.int32), tf.cast(side, tf.int32)])


@dataclass(frozen=True)
class Affine(Value):
    """Turns by up to `rotate` degrees, shifts by up to `shift` of the size, scales by 1 -+ `zoom`; all evenly.

    What comes into the picture from outside is black.
    """

    rotate: Annotated[float, Range(0, 180)] = 10.0
    shift: Fraction = 0.1
    zoom: Annotated[float, Range(0, 0.9)] = 0.1

    def __call__(self, images, draw):
        import tensorflow as tf

        height, width = images.shape[1:3]
        turn = rescale((-self.rotate, self.rotate), draw(0)) * (math.pi / 180)
        scale = rescale((1 - self.zoom, 1 + self.zoom), draw(3))
        # The op maps places in the result to places in the source, both counted from the first pixel's centre.
        cos, sin = exactly(tf.cos, turn) / scale, exactly(tf.sin, turn) / scale
        middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
        y = middle_y + rescale((-self.shift * height, self.shift * height), draw(1))
        x = middle_x + rescale((-self.shift * width, self.shift * width), draw(2))
        zero = tf.zeros_like(cos)
        rows = (cos, sin, middle_x - cos * x - sin * y, -sin, cos, middle_y + sin * x - cos * y, zero, zero)
        turned = tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.cast(images, tf.float32),
            transforms=tf.stack(rows, axis=1),
            output_shape=(height, width),
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )
        return tf.ensure_shape(turned, images.shape)


AUGMENTATIONS = by_name(
    (
        *(PadCrop, Flip, AlternatingFlip, InceptionCrop, ScaleCrop, Affine),
        *(PCANoise, ColourJitter, AutoAugment, RandAugment, RandomErasing, Cutout),
    )
)


def drop_unsafe_flips(parts: tuple, dataset) -> tuple[tuple, tuple[str, ...]]:
    """The parts that a data set bears, and a sentence for the log on each that was taken out."""
    kept = tuple(part for part in parts if not getattr(part, "mirrors", False))
    if dataset.mirror or kept == parts:
        return parts, ()
    note = f"images of {dataset.name} are not mirrored: a mirror image may be of another class, or of none"
    return kept, (note,)
