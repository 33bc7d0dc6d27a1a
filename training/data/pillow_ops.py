"""The operations of AutoAugment and RandAugment: every image of a batch its own, all of them at once.

A batch is sorted by kind of operation, every kind changes its images with a handful of TensorFlow operations, and
the batch is put together again: an image costs its own operation only. Each gives the numbers of Pillow, which the
papers used: nearest pixels, ImageEnhance's mixing cut down to whole levels, ImageOps' tables.
"""

import math

from training.data.stateless_random import exactly

OPERATIONS = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate"),
    *("solarize", "posterize", "brightness", "contrast", "auto_contrast", "equalize"),
    *("colour", "sharpness", "invert"),
)
MAGNITUDES = 10  # the strongest; 0 is the weakest
SHEAR, ROTATE = 0.3, 30.0  # the strongest: a share of the side, degrees
OUTSIDE = 128.0  # the grey of what comes into the picture
LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)  # Pillow's


def operate(images, operation, magnitude, sign, shift: float):
    """uint8 (b, h, w, c), each image changed by its own operation.

    Args:
        images: uint8, or floats of the scale 0-255, which are rounded; c is 1 or 3.
        operation: int32 (b,), places in OPERATIONS.
        magnitude: float32 (b,), 0 to 10. Of brightness, contrast, colour and sharpness, 5 is no change.
        sign: float32 (b,), -1 or 1, the direction of shears, translations and turns.
        shift: the strongest translation, as a share of the side.
    """
    import tensorflow as tf

    images = as_bytes(images)
    # In float64, as Pillow gets it: a factor 1e-7 too small takes a whole level from what it should just reach.
    strength = tf.cast(magnitude, tf.float64) / MAGNITUDES
    rows = tf.dynamic_partition(tf.range(tf.shape(images)[0]), tf.gather(kinds(), operation), len(KINDS))
    changed = []
    for change, row in zip(KINDS, rows, strict=True):
        own = [tf.gather(values, row) for values in (images, operation, strength, sign)]
        changed.append(change(*own, shift))
    return tf.ensure_shape(tf.dynamic_stitch(rows, changed), images.shape)


def as_bytes(images):
    """float32 -> uint8, rounded."""
    import tensorflow as tf

    images = tf.convert_to_tensor(images)
    return images if images.dtype == tf.uint8 else tf.saturate_cast(tf.round(images), tf.uint8)


# --- kinds ------------------------------------------------------------------------------------------------------


def kept(images, operation, strength, sign, shift):
    return images


def moved(images, operation, strength, sign, shift):
    """Shears, translations, turns: one projective transform an image."""
    import tensorflow as tf

    height, width = images.shape[1:3]

    def amount(name, most):
        return tf.where(operation == OPERATIONS.index(name), sign * tf.cast(strength * most, tf.float32), 0)

    turn = amount("rotate", math.radians(ROTATE))
    along_x, along_y = amount("shear_x", SHEAR), amount("shear_y", SHEAR)
    cos, sin = exactly(tf.cos, turn), exactly(tf.sin, turn)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    # Pillow counts from the corner of a pixel, TensorFlow from its middle. A translation is of whole pixels.
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


def looked_up(images, operation, strength, sign, shift):
    """What changes every level by itself: one table an image and channel."""
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
    return tf.gather(tf.reshape(tables(counts, operation, strength), (-1,)), levels)


def saturated(images, operation, strength, sign, shift):
    """Mixed with its luma."""
    import tensorflow as tf

    if images.shape[-1] == 1:
        return images
    images = tf.cast(images, tf.float32)
    grey = sum(weight * images[..., i : i + 1] for i, weight in enumerate(LUMA))
    return mixed(tf.floor(grey + 0.5), images, enhanced(strength)[:, None, None, None])


def sharpened(images, operation, strength, sign, shift):
    """Mixed with its smoothed self; the outermost pixels stay, as Pillow's filter leaves them."""
    import tensorflow as tf

    if min(images.shape[1:3]) < 3:
        return images
    levels = tf.cast(images, tf.int32)
    high = levels[:, :-2] + levels[:, 1:-1] + levels[:, 2:]
    around = high[:, :, :-2] + high[:, :, 1:-1] + high[:, :, 2:]
    inner = levels[:, 1:-1, 1:-1]
    smooth = tf.floor(tf.cast(around + 4 * inner, tf.float32) / 13 + 0.5)
    inner = mixed(smooth, tf.cast(inner, tf.float32), enhanced(strength)[:, None, None, None])
    middle = tf.concat((images[:, 1:-1, :1], inner, images[:, 1:-1, -1:]), axis=2)
    return tf.concat((images[:, :1], middle, images[:, -1:]), axis=1)


KINDS = (kept, moved, looked_up, saturated, sharpened)


def kinds() -> list[int]:
    """For each operation the place of its kind in KINDS."""
    others = {"identity": kept, "colour": saturated, "sharpness": sharpened}
    moving = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
    others |= dict.fromkeys(moving, moved)
    return [KINDS.index(others.get(name, looked_up)) for name in OPERATIONS]


# --- levels -----------------------------------------------------------------------------------------------------


def enhanced(strength):
    """The factor of ImageEnhance: 0.1 to 1.9."""
    import tensorflow as tf

    return tf.cast(0.1 + 1.8 * strength, tf.float32)


def mixed(base, levels, factor):
    """Pillow's blend: from `base` to `levels` and beyond, cut to whole levels, as uint8."""
    import tensorflow as tf

    return tf.cast(tf.clip_by_value(base + factor * (levels - base), 0, 255), tf.uint8)


def tables(counts, operation, strength):
    """uint8 (n, c, 256): what becomes of each level, from how often each occurs."""
    import tensorflow as tf

    levels = tf.range(256, dtype=tf.float32) + tf.zeros_like(counts)
    operation, strength = operation[:, None, None], strength[:, None, None]

    def chosen(name):
        return operation == OPERATIONS.index(name)

    # Invert is solarize from level 0 on; solarize goes from 256, nothing, down to 0, posterize from 8 bits to 4.
    threshold = tf.where(chosen("invert"), 0.0, tf.cast(256 - tf.floor(256 * strength), tf.float32))
    cell = tf.gather([1.0, 2.0, 4.0, 8.0, 16.0], tf.cast(tf.round(4 * strength), tf.int32))
    middle = tf.where(chosen("contrast"), mean_luma(counts)[:, None, None], 0)
    out = tf.cast(mixed(middle, levels, enhanced(strength)), tf.float32)
    out = tf.where(chosen("posterize"), tf.floor(levels / cell) * cell, out)
    out = tf.where(chosen("solarize") | chosen("invert"), tf.where(levels < threshold, levels, 255 - levels), out)
    out = tf.where(chosen("auto_contrast"), stretched(counts, levels), out)
    out = tf.where(chosen("equalize"), equalized(counts, levels), out)
    return tf.cast(out, tf.uint8)


def mean_luma(counts):
    """(n,), rounded to a level."""
    import tensorflow as tf

    means = tf.reduce_sum(counts * tf.range(256, dtype=tf.float32), axis=2) / tf.reduce_sum(counts, axis=2)
    grey = means[:, 0] if counts.shape[1] == 1 else sum(w * means[:, i] for i, w in enumerate(LUMA))
    return tf.floor(grey + 0.5)


def stretched(counts, levels):
    """Auto-contrast: the lowest level that occurs to 0, the highest to 255."""
    import tensorflow as tf

    low = tf.reduce_min(tf.where(counts > 0, levels, 255), axis=2, keepdims=True)
    high = tf.reduce_max(tf.where(counts > 0, levels, 0), axis=2, keepdims=True)
    out = tf.floor(tf.clip_by_value((levels - low) * 255 / tf.maximum(high - low, 1), 0, 255))
    return tf.where(high > low, out, levels)


def equalized(counts, levels):
    """Every level to the share of pixels below it, with Pillow's rounding."""
    import tensorflow as tf

    high = tf.reduce_max(tf.where(counts > 0, levels, 0), axis=2, keepdims=True)
    below = tf.cumsum(counts, axis=2, exclusive=True)
    # All but the highest level are shared out among 255 steps.
    step = tf.floor(tf.reduce_sum(tf.where(levels < high, counts, 0), axis=2, keepdims=True) / 255)
    out = tf.floor((tf.floor(step / 2) + below) / tf.maximum(step, 1))
    return tf.where(step > 0, tf.minimum(out, 255), levels)
