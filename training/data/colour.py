"""Colour noise: parts that shift or mix the colours of each image by a few numbers drawn for it.

They give float32 and clip nothing, as the papers' programs: values may leave 0-255 a little.
"""

from dataclasses import dataclass
from typing import Annotated

from keras_cnns.values import Fraction, Range, Value
from training.data.stateless_random import integers, normal, rescale

LUMA = (0.299, 0.587, 0.114)
# Of the RGB values in [0, 1] of ImageNet, as fb.resnet.torch publishes them; a row of VECTORS a colour.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@dataclass(frozen=True)
class PCANoise(Value):
    """Adds a multiple of each principal component of ImageNet's colours (Krizhevsky et al. 2012, section 4.1).

    The multiples are the eigenvalue times N(0, std), three numbers an image and use. A grey image is shifted
    by the luma of what a colour image would get.
    """

    std: Annotated[float, Range(0, 10)] = 0.1

    def __call__(self, images, draw):
        import tensorflow as tf

        # In float64 for the reason that `mixture` gives.
        drawn = [tf.cast(normal(draw(2 * i), draw(2 * i + 1)), tf.float64) for i in range(3)]
        amounts = [number * (255 * self.std * size) for number, size in zip(drawn, EIGENVALUES, strict=True)]
        shift = [sum(entry * amount for entry, amount in zip(row, amounts, strict=True)) for row in EIGENVECTORS]
        if images.shape[-1] == 1:
            shift = [sum(weight * one for weight, one in zip(LUMA, shift, strict=True))]
        return tf.cast(images, tf.float32) + tf.cast(tf.stack(shift, axis=-1), tf.float32)[:, None, None, :]


@dataclass(frozen=True)
class ColourJitter(Value):
    """Brightness, contrast and saturation, each times a number even in 1 -+ its range, in random order.

    As in fb.resnet.torch, after Howard 2013, section 2.2: the image is mixed with black, with the mean of its
    luma, with its luma; a factor above 1 leads away from them. Of a grey image the saturation stays.
    """

    brightness: Fraction = 0.4
    contrast: Fraction = 0.4
    saturation: Fraction = 0.4

    def __call__(self, images, draw):
        import tensorflow as tf

        images = tf.cast(images, tf.float32)
        grey = luma(images)
        # Summed as integers: the sum of floats would depend, in its last digit, on who adds them.
        total = tf.reduce_sum(tf.cast(tf.round(grey * 256), tf.int64), axis=(1, 2, 3))
        mean = tf.cast(total, tf.float64) / (256 * grey.shape[1] * grey.shape[2])
        ranges = (self.brightness, self.contrast, self.saturation)
        factors = [rescale((1 - r, 1 + r), draw(k)) for k, r in enumerate(ranges)]
        pixel, own, level = mixture(factors, tf.gather(ORDERS, integers(draw(3), len(ORDERS))))
        pixel, own, level = (tf.cast(n, tf.float32)[:, None, None, None] for n in (pixel, own, level * mean))
        # Small shapes first, as graph simplification would put them: another order has another last digit.
        return pixel * images + (own * grey + level)


def mixture(factors: list, order):
    """Shares (b,) of pixel, luma and mean luma in the outcome; each step keeps it a mixture of these three.

    `order` (b, 3) says which of brightness, contrast and saturation comes first, second and third. In float64,
    since graphs of known and of unknown batch size are simplified differently, which moves the last digit.
    """
    import tensorflow as tf

    factors = [tf.cast(factor, tf.float64) for factor in factors]
    pixel, own, level = (share + tf.zeros_like(factors[0]) for share in (1.0, 0.0, 0.0))
    for step in range(3):
        kind = order[:, step]
        keep = tf.where(kind == 0, factors[0], tf.where(kind == 1, factors[1], factors[2]))
        # The mixture's own luma is (pixel + own) lumas and `level`, its mean luma all three times the mean.
        to_level = tf.where(kind == 1, (1 - keep) * (pixel + own + level), 0)
        to_own = tf.where(kind == 2, (1 - keep) * (pixel + own), 0)
        pixel, own = keep * pixel, keep * own + to_own
        level = tf.where(kind == 2, level, keep * level + to_level)
    return pixel, own, level


def luma(images):
    """float32 (b, h, w, 1); grey images as they are."""
    if images.shape[-1] == 1:
        return images
    return sum(weight * images[..., i : i + 1] for i, weight in enumerate(LUMA))
