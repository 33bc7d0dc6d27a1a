"""The operations of AutoAugment and RandAugment, with the numbers of Pillow, a different one for each image.

The batch is partitioned by kind of operation, each kind changes its images with a few TensorFlow operations, and
the results are put together: an image costs only its own operation. The papers used Pillow: nearest pixels,
ImageEnhance's blending truncated to whole levels, ImageOps' lookup tables.
"""

import math

from training.data.colour import PILLOW_LUMA
from training.data.stateless_random import in_float64

OPERATIONS = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate"),
    *("solarize", "posterize", "brightness", "contrast", "auto_contrast", "equalize"),
    *("colour", "sharpness", "invert"),
)
MAX_MAGNITUDE = 10  # 0 is the weakest
MAX_SHEAR, MAX_ROTATION = 0.3, 30.0  # fraction of the side, degrees
OUTSIDE = 128.0  # grey level of pixels from outside the image


def operate(images, operation, magnitude, sign, shift: float):
    """uint8 (b, h, w, c), each image changed by its own operation.

    Args:
        images: uint8, or floats on the scale 0-255, which are rounded; c is 1 or 3.
        operation: int32 (b,), indices in OPERATIONS.
        magnitude: float32 (b,), 0 to 10. For brightness, contrast, colour and sharpness, 5 is no change.
        sign: float32 (b,), -1 or 1, the direction of shears, translations and rotations.
        shift: the largest translation, as a fraction of the side.
    """
    import tensorflow as tf

    images = round_to_uint8(images)
    # In float64, like Pillow: a factor too small by 1e-7 can give a result too small by a whole level.
    strength = tf.cast(magnitude, tf.float64) / MAX_MAGNITUDE
    rows = tf.dynamic_partition(tf.range(tf.shape(images)[0]), tf.gather(kind_indices(), operation), len(KINDS))
    changed = []
    for change, row in zip(KINDS, rows, strict=True):
        own = [tf.gather(values, row) for values in (images, operation, strength, sign)]
        changed.append(change(*own, shift))
    return tf.ensure_shape(tf.dynamic_stitch(rows, changed), images.shape)


def round_to_uint8(images):
    """float32 -> uint8, rounded."""
    import tensorflow as tf

    images = tf.convert_to_tensor(images)
    return images if images.dtype == tf.uint8 else tf.saturate_cast(tf.round(images), tf.uint8)


# --- kinds ------------------------------------------------------------------------------------------------------


def keep(images, operation, strength, sign, shift):
    return images


def warp(images, operation, strength, sign, shift):
    """Shears, translations and rotations: one projective transform per image."""
    import tensorflow as tf

    height, width = images.shape[1:3]

    def amount(name, maximum):
        return tf.where(operation == OPERATIONS.index(name), sign * tf.cast(strength * maximum, tf.float32), 0)

    turn = amount("rotate", math.radians(MAX_ROTATION))
    along_x, along_y = amount("shear_x", MAX_SHEAR), amount("shear_y", MAX_SHEAR)
    cos, sin = in_float64(tf.cos, turn), in_float64(tf.sin, turn)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    # Pillow counts from the corner of a pixel, TensorFlow from its centre. Translations are whole pixels.
    x = middle_x * (1 - cos) + middle_y * sin + along_x / 2 + tf.round(amount("translate_x", shift * width))
    y = middle_y * (1 - cos) - middle_x * sin + along_y / 2 + tf.round(amount("translate_y", shift * height))
    zero = tf.zeros_like(turn)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack((cos, along_x - sin, x, along_y + sin, cos, y, zero, zero), axis=1),
        output_shape=(height, width),
        fill_value=OUTSIDE,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )


def apply_table(images, operation, strength, sign, shift):
    """Operations that map each level to another one: one lookup table per image and channel."""
    import tensorflow as tf

    channels = images.shape[-1]
    levels = tf.cast(images, tf.int32) + 256 * (
        tf.range(tf.shape(images)[0])[:, None, None, None] * channels + tf.range(channels)
    )
    counts = tf.raw_ops.DenseBincount(
        input=tf.reshape(levels, (-1,)),
        size=256 * channels * tf.shape(images)[0],
        weights=tf.zeros((0,), tf.int32),
    )
    counts = tf.cast(tf.reshape(counts, (-1, channels, 256)), tf.float32)
    return tf.gather(tf.reshape(make_tables(counts, operation, strength), (-1,)), levels)


def saturate(images, operation, strength, sign, shift):
    """Blends an image with its luma."""
    import tensorflow as tf

    if images.shape[-1] == 1:
        return images
    images = tf.cast(images, tf.float32)
    grey = sum(weight * images[..., i : i + 1] for i, weight in enumerate(PILLOW_LUMA))
    return blend(tf.floor(grey + 0.5), images, enhance_factor(strength)[:, None, None, None])


def sharpen(images, operation, strength, sign, shift):
    """Blends an image with its smoothed copy; like Pillow's filter it keeps the border pixels."""
    import tensorflow as tf

    if min(images.shape[1:3]) < 3:
        return images
    levels = tf.cast(images, tf.int32)
    high = levels[:, :-2] + levels[:, 1:-1] + levels[:, 2:]
    around = high[:, :, :-2] + high[:, :, 1:-1] + high[:, :, 2:]
    inner = levels[:, 1:-1, 1:-1]
    smooth = tf.floor(tf.cast(around + 4 * inner, tf.float32) / 13 + 0.5)
    inner = blend(smooth, tf.cast(inner, tf.float32), enhance_factor(strength)[:, None, None, None])
    middle = tf.concat((images[:, 1:-1, :1], inner, images[:, 1:-1, -1:]), axis=2)
    return tf.concat((images[:, :1], middle, images[:, -1:]), axis=1)


KINDS = (keep, warp, apply_table, saturate, sharpen)


def kind_indices() -> list[int]:
    """For each operation the index of its kind in KINDS."""
    others = {"identity": keep, "colour": saturate, "sharpness": sharpen}
    moving = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
    others |= dict.fromkeys(moving, warp)
    return [KINDS.index(others.get(name, apply_table)) for name in OPERATIONS]


# --- levels -----------------------------------------------------------------------------------------------------


def enhance_factor(strength):
    """ImageEnhance's factor: 0.1 to 1.9."""
    import tensorflow as tf

    return tf.cast(0.1 + 1.8 * strength, tf.float32)


def blend(base, levels, factor):
    """Pillow's blend: from `base` to `levels` and beyond, truncated to whole levels, as uint8."""
    import tensorflow as tf

    return tf.cast(tf.clip_by_value(base + factor * (levels - base), 0, 255), tf.uint8)


def make_tables(counts, operation, strength):
    """Lookup tables, uint8 (n, c, 256), from the histograms `counts` (n, c, 256)."""
    import tensorflow as tf

    levels = tf.range(256, dtype=tf.float32) + tf.zeros_like(counts)
    operation, strength = operation[:, None, None], strength[:, None, None]

    def chosen(name):
        return operation == OPERATIONS.index(name)

    # Invert is solarize at threshold 0. Solarize has thresholds from 256 down to 0, posterize bits from 8 to 4.
    threshold = tf.where(chosen("invert"), 0.0, tf.cast(256 - tf.floor(256 * strength), tf.float32))
    cell = tf.gather([1.0, 2.0, 4.0, 8.0, 16.0], tf.cast(tf.round(4 * strength), tf.int32))
    middle = tf.where(chosen("contrast"), mean_luma(counts)[:, None, None], 0)
    out = tf.cast(blend(middle, levels, enhance_factor(strength)), tf.float32)
    out = tf.where(chosen("posterize"), tf.floor(levels / cell) * cell, out)
    out = tf.where(chosen("solarize") | chosen("invert"), tf.where(levels < threshold, levels, 255 - levels), out)
    out = tf.where(chosen("auto_contrast"), autocontrast(counts, levels), out)
    out = tf.where(chosen("equalize"), equalize(counts, levels), out)
    return tf.cast(out, tf.uint8)


def mean_luma(counts):
    """Mean luma (n,), rounded to a level."""
    import tensorflow as tf

    means = tf.reduce_sum(counts * tf.range(256, dtype=tf.float32), axis=2) / tf.reduce_sum(counts, axis=2)
    grey = means[:, 0] if counts.shape[1] == 1 else sum(w * means[:, i] for i, w in enumerate(PILLOW_LUMA))
    return tf.floor(grey + 0.5)


def autocontrast(counts, levels):
    """Auto-contrast: maps the lowest level in the image to 0, the highest to 255."""
    import tensorflow as tf

    low = tf.reduce_min(tf.where(counts > 0, levels, 255), axis=2, keepdims=True)
    high = tf.reduce_max(tf.where(counts > 0, levels, 0), axis=2, keepdims=True)
    out = tf.floor(tf.clip_by_value((levels - low) * 255 / tf.maximum(high - low, 1), 0, 255))
    return tf.where(high > low, out, levels)


def equalize(counts, levels):
    """Histogram equalization: maps every level to the fraction of pixels below it, with Pillow's rounding."""
    import tensorflow as tf

    high = tf.reduce_max(tf.where(counts > 0, levels, 0), axis=2, keepdims=True)
    below = tf.cumsum(counts, axis=2, exclusive=True)
    # The pixels of all levels but the highest are divided into 255 steps.
    step = tf.floor(tf.reduce_sum(tf.where(levels < high, counts, 0), axis=2, keepdims=True) / 255)
    out = tf.floor((tf.floor(step / 2) + below) / tf.maximum(step, 1))
    return tf.where(step > 0, tf.minimum(out, 255), levels)
