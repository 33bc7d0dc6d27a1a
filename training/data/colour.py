"""Colour augmentation: random changes of the colours of each image.

The results are float32 and not clipped, as in the papers' programs: values may be slightly outside 0-255.
"""

from dataclasses import dataclass
from typing import Annotated

from keras_cnns.values import Fraction, Range, Value
from training.data.stateless_random import integers, normal, rescale

# Luma weights of red, green and blue: these programs use different digits.
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as fb.resnet.torch
TF_LUMA = (0.2989, 0.587, 0.114)  # tf.image.rgb_to_grayscale
PILLOW_LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)
# Of ImageNet's RGB values in [0, 1], as published in fb.resnet.torch; one row of EIGENVECTORS per colour.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@dataclass(frozen=True)
class PCANoise(Value):
    """Adds a multiple of each principal component of ImageNet's colours (Krizhevsky et al. 2012, section 4.1).

    The multiples are the eigenvalue times N(0, std), three new numbers per image and epoch. A grey image gets the
    luma of the colour image's shift.
    """

    std: Annotated[float, Range(0, 10)] = 0.1

    def __call__(self, images, draw):
        import tensorflow as tf

        # In float64, as in `mixture_weights`.
        drawn = [tf.cast(normal(draw(2 * i), draw(2 * i + 1)), tf.float64) for i in range(3)]
        amounts = [number * (255 * self.std * size) for number, size in zip(drawn, EIGENVALUES, strict=True)]
        shift = [sum(entry * amount for entry, amount in zip(row, amounts, strict=True)) for row in EIGENVECTORS]
        if images.shape[-1] == 1:
            shift = [sum(weight * one for weight, one in zip(LUMA, shift, strict=True))]
        return tf.cast(images, tf.float32) + tf.cast(tf.stack(shift, axis=-1), tf.float32)[:, None, None, :]


@dataclass(frozen=True)
class ColourJitter(Value):
    """Changes brightness, contrast and saturation in random order, each by a factor uniform in 1 -+ its range.

    As in fb.resnet.torch, after Howard 2013, section 2.2: the image is blended with black, with the mean of its
    luma, or with its luma; a factor above 1 extrapolates. The saturation of a grey image is not changed.
    """

    brightness: Fraction = 0.4
    contrast: Fraction = 0.4
    saturation: Fraction = 0.4

    def __call__(self, images, draw):
        import tensorflow as tf

        images = tf.cast(images, tf.float32)
        grey = luma(images)
        # Summed as integers: the last digit of a sum of floats would depend on the order of additions.
        total = tf.reduce_sum(tf.cast(tf.round(grey * 256), tf.int64), axis=(1, 2, 3))
        mean = tf.cast(total, tf.float64) / (256 * grey.shape[1] * grey.shape[2])
        ranges = (self.brightness, self.contrast, self.saturation)
        factors = [rescale((1 - r, 1 + r), draw(k)) for k, r in enumerate(ranges)]
        pixel, own, level = mixture_weights(factors, tf.gather(ORDERS, integers(draw(3), len(ORDERS))))
        pixel, own, level = (tf.cast(n, tf.float32)[:, None, None, None] for n in (pixel, own, level * mean))
        # Small shapes first, as graph simplification orders them: another order changes the last digit.
        return pixel * images + (own * grey + level)


def mixture_weights(factors: list, order):
    """Weights (b,) of the pixel, its luma and the mean luma in the result, which is a mixture of these three.

    `order` (b, 3) says which of brightness, contrast and saturation is first, second and third. In float64, since
    graphs of known and of unknown batch size are simplified differently, which changes the last digit.
    """
    import tensorflow as tf

    factors = [tf.cast(factor, tf.float64) for factor in factors]
    pixel, own, level = (weight + tf.zeros_like(factors[0]) for weight in (1.0, 0.0, 0.0))
    for step in range(3):
        kind = order[:, step]
        keep = tf.where(kind == 0, factors[0], tf.where(kind == 1, factors[1], factors[2]))
        # The luma of the mixture is (pixel + own) * luma + level; its mean luma is (pixel + own + level) * mean.
        to_level = tf.where(kind == 1, (1 - keep) * (pixel + own + level), 0)
        to_own = tf.where(kind == 2, (1 - keep) * (pixel + own), 0)
        pixel, own = keep * pixel, keep * own + to_own
        level = tf.where(kind == 2, level, keep * level + to_level)
    return pixel, own, level


def luma(images):
    """float32 (b, h, w, 1); grey images unchanged."""
    if images.shape[-1] == 1:
        return images
    return sum(weight * images[..., i : i + 1] for i, weight in enumerate(LUMA))
