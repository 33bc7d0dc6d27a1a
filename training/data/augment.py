"""Augmentation of training images: crops, flips and affine transforms; and the names of all augmentations.

An augmentation is called as `part(images, draw)`. `images` is a tensor (b, h, w, c) on the scale 0-255, uint8 or
float32; `draw(k)` is the k-th random number of each image, float32 (b,), uniform in [0, 1). It depends only on the
seed, the epoch, the index of the image, the position of the part and k: not on the batch, the order or the worker.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from keras_cnns.values import Count, Fraction, Range, Value, by_name
from training.data.colour import ColourJitter, PCANoise
from training.data.erasing import Cutout, RandomErasing, Side
from training.data.policies import AutoAugment, RandAugment
from training.data.stateless_random import check_low_high, in_float64, integers, rescale

Factor = Annotated[float, Range(1, 100)]


@dataclass(frozen=True)
class PadCrop(Value):
    """Pads every side by `pad` pixels and crops the old size at a random position (He et al. 2015, section 4.2).

    `constant` pads with black. Raises ValueError if a reflection is wider than the image.
    """

    pad: Count = 4
    mode: Literal["constant", "reflect"] = "constant"

    def __call__(self, images, draw):
        import tensorflow as tf

        height, width = images.shape[1:3]
        if self.mode == "reflect" and self.pad >= min(height, width):
            raise ValueError(f"PadCrop reflects at most {min(height, width) - 1} pixels here, got pad={self.pad}")
        padded = tf.pad(images, ((0, 0), (self.pad,) * 2, (self.pad,) * 2, (0, 0)), self.mode)
        rows = integers(draw(0), 2 * self.pad + 1)[:, None] + tf.range(height)
        columns = integers(draw(1), 2 * self.pad + 1)[:, None] + tf.range(width)
        return tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


@dataclass(frozen=True)
class Flip(Value):
    """Flips an image horizontally with probability 1/2."""

    mirrors: ClassVar[bool] = True

    def __call__(self, images, draw):
        return flip_where(images, draw(0) < 0.5)


@dataclass(frozen=True)
class AlternatingFlip(Value):
    """Flips each image in every second epoch, even or odd ones at random (Jordan 2024).

    Two epochs show both versions of every image; with independent flips half would be shown the same way twice.
    """

    mirrors: ClassVar[bool] = True

    def __call__(self, images, draw):
        import tensorflow as tf

        first = tf.cast(draw.always(0) < 0.5, tf.int64)
        return flip_where(images, (first + tf.cast(draw.epoch, tf.int64)) % 2 == 1)


def flip_where(images, which):
    """(b, h, w, c) with the images of the mask `which`, bool (b,), flipped horizontally.

    TensorFlow's kernels are fast for rows (n, w, 3) and for selecting whole images, but not for `tf.where` with a
    broadcast condition: together five times the speed.
    """
    import tensorflow as tf

    rows = tf.reshape(images, (-1, *images.shape[2:]))
    flipped = tf.reshape(tf.reverse(rows, [1]), tf.shape(images))
    return tf.ensure_shape(tf.raw_ops.Select(condition=which, x=flipped, y=images), images.shape)


def resize_window(window, size):
    """The window (h, w, c) resized to (height, width), float32: area average if both sides shrink, else bilinear.

    Pillow's antialiased filter takes twice as long as decoding the JPEG, an area average a quarter of that.
    """
    import tensorflow as tf

    shrinks = tf.reduce_all(tf.shape(window)[:2] > size)
    return tf.cond(
        shrinks,
        lambda: tf.image.resize(window, size, method="area"),
        lambda: tf.image.resize(window, size),
    )


class Window(Value):
    """Base of the random crops that are resized to the training size.

    The pipeline calls `window` before it decodes an image, so a crop must be the first augmentation.
    """

    draws: ClassVar[int] = 4

    def window(self, height, width, draw):
        """int32 tensor (4, b): top, left, height and width of each image's window, in pixels.

        It may call draw(0) to draw(draws - 1).
        """
        raise NotImplementedError

    def __call__(self, images, draw):
        """The windows of a batch, resized to the batch's own size."""
        import tensorflow as tf

        height, width = images.shape[1:3]

        def crop(pair):
            image, (top, left, rows, columns) = pair[0], tf.unstack(pair[1])
            return resize_window(image[top : top + rows, left : left + columns], (height, width))

        windows = tf.transpose(self.window(height, width, draw))
        resized = tf.map_fn(crop, (images, windows), fn_output_signature=tf.float32)
        return tf.ensure_shape(resized, images.shape)


@dataclass(frozen=True)
class InceptionCrop(Window):
    """A random crop of the image, resized (Szegedy et al. 2014, section 6).

    `area` is the range of the crop's fraction of the area, `aspect` that of width / height, uniform in its
    logarithm. A window larger than the image is clipped; other programs draw again, which would need a loop.
    """

    area: tuple[Annotated[float, Range(0.001, 1)], Annotated[float, Range(0.001, 1)]] = (0.08, 1.0)
    aspect: tuple[Side, Side] = (3 / 4, 4 / 3)

    def check(self):
        check_low_high(self, "area", "aspect")

    def window(self, height, width, draw):
        import tensorflow as tf

        height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
        area = height * width * rescale(self.area, draw(0))
        aspect = in_float64(tf.exp, rescale(tuple(map(math.log, self.aspect)), draw(1)))
        rows = tf.clip_by_value(tf.round(tf.sqrt(area / aspect)), 1, height)
        columns = tf.clip_by_value(tf.round(tf.sqrt(area * aspect)), 1, width)
        top, left = integers(draw(2), height - rows + 1), integers(draw(3), width - columns + 1)
        return tf.stack([top, left, tf.cast(rows, tf.int32), tf.cast(columns, tf.int32)])


@dataclass(frozen=True)
class ScaleCrop(Window):
    """The shorter side scaled to a multiple of the training size, then a random square of the training size.

    The multiple is uniform in [low, high]: 256/224 fixed is AlexNet's (Krizhevsky et al. 2012, section 4.1),
    256/224 to 512/224 VGG's scale jitter (Simonyan and Zisserman 2014, section 3.1), to 480/224 ResNet's (He et
    al. 2015, section 3.4). Cropped before it is scaled: a square of the shorter side / multiple, in whole pixels.
    """

    low: Factor = 256 / 224
    high: Factor = 256 / 224

    def check(self):
        if self.low > self.high:
            raise ValueError(f"ScaleCrop needs low <= high, got {self.low:g} and {self.high:g}")

    def window(self, height, width, draw):
        import tensorflow as tf

        height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
        side = tf.maximum(tf.round(tf.minimum(height, width) / rescale((self.low, self.high), draw(0))), 1)
        top, left = integers(draw(1), height - side + 1), integers(draw(2), width - side + 1)
        return tf.stack([top, left, tf.cast(side, tf.int32), tf.cast(side, tf.int32)])


@dataclass(frozen=True)
class Affine(Value):
    """Rotates by up to `rotate` degrees, shifts by up to `shift` of the size, scales by 1 -+ `zoom`; all uniform.

    Pixels from outside the image are black.
    """

    rotate: Annotated[float, Range(0, 180)] = 10.0
    shift: Fraction = 0.1
    zoom: Annotated[float, Range(0, 0.9)] = 0.1

    def __call__(self, images, draw):
        import tensorflow as tf

        height, width = images.shape[1:3]
        turn = rescale((-self.rotate, self.rotate), draw(0)) * (math.pi / 180)
        scale = rescale((1 - self.zoom, 1 + self.zoom), draw(3))
        # The op maps positions in the result to positions in the source, counted from the first pixel's centre.
        cos, sin = in_float64(tf.cos, turn) / scale, in_float64(tf.sin, turn) / scale
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
    """The augmentations without flips if the data set must not be mirrored, and a line for the log."""
    kept = tuple(part for part in parts if not getattr(part, "mirrors", False))
    if dataset.mirror or kept == parts:
        return parts, ()
    note = f"images of {dataset.name} are not mirrored: a mirror image may be of another class, or of none"
    return kept, (note,)
