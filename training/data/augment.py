"""Augmentation: parts that change a batch of training images.

A part is called as `part(images, draw)`. `images` is a tensor (b, h, w, c) on the scale 0-255, uint8 or float32;
`draw(k)` is the k-th random number of each image, float32 (b,), uniform in [0, 1). It depends on the seed,
the epoch, the image's index, the part's position and k alone: not on the batch, the order, or who reads.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from keras_cnns.values import Count, Fraction, Range, Value, by_name

Side = Annotated[float, Range(0.01, 100)]


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
        rows = whole(draw(0), 2 * self.pad + 1)[:, None] + tf.range(height)
        columns = whole(draw(1), 2 * self.pad + 1)[:, None] + tf.range(width)
        return tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


@dataclass(frozen=True)
class Flip(Value):
    """Mirrors left and right every second image, by chance."""

    def __call__(self, images, draw):
        import tensorflow as tf

        return tf.where((draw(0) < 0.5)[:, None, None, None], tf.reverse(images, [2]), images)


@dataclass(frozen=True)
class InceptionCrop(Value):
    """A random part of the image, resized (Szegedy et al. 2014, section 6).

    `area` is the range of the part's share of the area, `aspect` the range of width / height, drawn evenly in its
    logarithm. A window that sticks out of the image is cut to it; the paper's users draw again instead, which
    would need a loop. The pipeline asks for `window` before it decodes, so this part must come first.
    """

    area: tuple[Annotated[float, Range(0.001, 1)], Annotated[float, Range(0.001, 1)]] = (0.08, 1.0)
    aspect: tuple[Side, Side] = (3 / 4, 4 / 3)

    def __post_init__(self):
        super().__post_init__()
        for name in ("area", "aspect"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"InceptionCrop.{name} must be (low, high); ({low}, {high}) came")

    def window(self, height, width, draw):
        """int32 tensor (4, b): top, left, height, width of each image's window. Sizes are in pixels."""
        import tensorflow as tf

        height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
        area = height * width * between(self.area, draw(0))
        aspect = tf.exp(between(tuple(map(math.log, self.aspect)), draw(1)))
        rows = tf.clip_by_value(tf.round(tf.sqrt(area / aspect)), 1, height)
        columns = tf.clip_by_value(tf.round(tf.sqrt(area * aspect)), 1, width)
        top, left = whole(draw(2), height - rows + 1), whole(draw(3), width - columns + 1)
        return tf.stack([top, left, tf.cast(rows, tf.int32), tf.cast(columns, tf.int32)])

    def __call__(self, images, draw):
        """The windows of a batch, resized to the batch's own size."""
        import tensorflow as tf

        height, width = images.shape[1:3]

        def crop(pair):
            image, (top, left, rows, columns) = pair[0], tf.unstack(pair[1])
            part = image[top : top + rows, left : left + columns]
            return tf.image.resize(tf.cast(part, tf.float32), (height, width), antialias=True)

        windows = tf.transpose(self.window(height, width, draw))
        resized = tf.map_fn(crop, (images, windows), fn_output_signature=tf.float32)
        return tf.ensure_shape(resized, images.shape)


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
        turn = between((-self.rotate, self.rotate), draw(0)) * (math.pi / 180)
        scale = between((1 - self.zoom, 1 + self.zoom), draw(3))
        # The op maps places in the result to places in the source, both counted from the first pixel's centre.
        cos, sin = tf.cos(turn) / scale, tf.sin(turn) / scale
        middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
        y = middle_y + between((-self.shift * height, self.shift * height), draw(1))
        x = middle_x + between((-self.shift * width, self.shift * width), draw(2))
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


AUGMENTATIONS = by_name((PadCrop, Flip, InceptionCrop, Affine))


def suit(parts: tuple, dataset) -> tuple[tuple, tuple[str, ...]]:
    """The parts that a data set bears, and a sentence for the log on each that was taken out."""
    if dataset.mirror or not any(isinstance(part, Flip) for part in parts):
        return parts, ()
    note = f"images of {dataset.name} are not mirrored: a mirror image may be of another class, or of none"
    return tuple(part for part in parts if not isinstance(part, Flip)), (note,)


# --- chance -----------------------------------------------------------------------------------------------------


def draws(seed: int, epoch, index, position: int) -> Callable:
    """`draw(k)` for one part: float32 in [0, 1), one for each sample index.

    `tf.random.experimental.index_shuffle` would look like the tool for this, but its output hardly depends on the
    second word of its seed; so every word is hashed. `epoch` and `index` may be tensors that broadcast.
    """
    import tensorflow as tf

    def word(value):
        return tf.cast(tf.bitwise.bitwise_and(tf.cast(value, tf.int64), 0xFFFFFFFF), tf.uint32)

    def draw(k: int):
        state = tf.constant(0x243F6A88, tf.uint32)
        for value in (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, position, k, epoch, index):
            # Adding a constant to each word keeps the words' order significant and zeros from staying zero.
            state = mix(tf.bitwise.bitwise_xor(state, word(value)) + tf.constant(0x9E3779B9, tf.uint32))
        return tf.cast(tf.bitwise.right_shift(state, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24

    return draw


def mix(state):
    """A bijection of uint32 in which every input bit moves every output bit (Wellons' lowbias32)."""
    import tensorflow as tf

    def fold(value, bits: int):
        return tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, tf.constant(bits, tf.uint32)))

    state = fold(state, 16) * tf.constant(0x7FEB352D, tf.uint32)
    state = fold(state, 15) * tf.constant(0x846CA68B, tf.uint32)
    return fold(state, 16)


def whole(drawn, count):
    """Uniform numbers in [0, 1) as int32 from 0 to count - 1."""
    import tensorflow as tf

    # In float32 a number just below 1 times a large count can round up to the count itself.
    limit = tf.cast(count, tf.float32)
    return tf.cast(tf.minimum(tf.floor(drawn * limit), limit - 1), tf.int32)


def between(bounds, drawn):
    """Uniform numbers in [0, 1) stretched to [low, high)."""
    low, high = bounds
    return low + (high - low) * drawn
