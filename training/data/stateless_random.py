"""Stateless random numbers: a function of (seed, epoch, image index)."""

import math
from collections.abc import Callable


def uniform(seed: int, epoch, index, position: int) -> Callable:
    """`draw(k)` for one augmentation: float32 in [0, 1), one number per image; `draw.always(k)` ignores the epoch.

    Every word is hashed, because the output of `tf.random.experimental.index_shuffle` hardly depends on the second
    word of its seed. `epoch` and `index` may be tensors that broadcast.
    """
    import tensorflow as tf

    def word(value):
        return tf.cast(tf.bitwise.bitwise_and(tf.cast(value, tf.int64), 0xFFFFFFFF), tf.uint32)

    def number(k: int, when):
        state = tf.constant(0x243F6A88, tf.uint32)
        for value in (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, position, k, when, index):
            # The constant makes the order of the words matter, and zero words change the state, too.
            state = hash32(tf.bitwise.bitwise_xor(state, word(value)) + tf.constant(0x9E3779B9, tf.uint32))
        return tf.cast(tf.bitwise.right_shift(state, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24

    def draw(k: int):
        return number(k, epoch)

    draw.epoch, draw.always = epoch, lambda k: number(k, 0)
    return draw


def hash32(state):
    """A bijection of uint32 in which every input bit changes every output bit (Wellons' lowbias32)."""
    import tensorflow as tf

    def fold(value, bits: int):
        return tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, tf.constant(bits, tf.uint32)))

    state = fold(state, 16) * tf.constant(0x7FEB352D, tf.uint32)
    state = fold(state, 15) * tf.constant(0x846CA68B, tf.uint32)
    return fold(state, 16)


def integers(drawn, count):
    """Uniform numbers in [0, 1) as int32 from 0 to count - 1."""
    import tensorflow as tf

    # In float32 a number just below 1 times a large count can round up to the count itself.
    limit = tf.cast(count, tf.float32)
    return tf.cast(tf.minimum(tf.floor(drawn * limit), limit - 1), tf.int32)


def rescale(bounds, drawn):
    """Uniform numbers in [0, 1) rescaled to [low, high)."""
    low, high = bounds
    return low + (high - low) * drawn


def normal(one, other):
    """A number of the normal distribution N(0, 1) from two uniform ones in [0, 1) (Box and Muller 1958)."""
    import tensorflow as tf

    return in_float64(lambda u, v: tf.sqrt(-2 * tf.math.log(1 - u)) * tf.cos(2 * math.pi * v), one, other)


def in_float64(function: Callable, *values):
    """`function` of float32 values, computed in float64 and rounded once.

    In float32 the last digit of exp, log, sin and cos depends on the other values of the tensor, so an image's
    augmentation would depend on its batch.
    """
    import tensorflow as tf

    return tf.cast(function(*(tf.cast(value, tf.float64) for value in values)), tf.float32)


def random_bytes(drawn, places):
    """float32 from 0 to 255, a function of an image's uniform number and an int position in the image."""
    import tensorflow as tf

    image = hash32(tf.cast(drawn * 2.0**24, tf.uint32) + tf.constant(0x9E3779B9, tf.uint32))
    state = hash32(tf.bitwise.bitwise_xor(image, tf.cast(places, tf.uint32) * tf.constant(0x9E3779B9, tf.uint32)))
    return tf.cast(tf.bitwise.right_shift(state, tf.constant(24, tf.uint32)), tf.float32)


def check_low_high(value, *names: str) -> None:
    """Raises ValueError unless each of these fields is (low, high)."""
    for name in names:
        low, high = getattr(value, name)
        if low > high:
            raise ValueError(f"{type(value).__name__}.{name} must be (low, high), got ({low}, {high})")
