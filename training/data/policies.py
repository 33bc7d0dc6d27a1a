"""AutoAugment and RandAugment: they choose an operation and its magnitude for each image.

Both give uint8. Magnitudes are 0 to 10, as in the authors' programs. Where those contradict each other, the ranges
are the paper's (Cubuk et al. 2018, table 6), and a larger magnitude is a stronger change: posterize keeps 8
to 4 bits, solarize inverts from level 256 down to 0. Shears, translations and rotations have a random sign.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from keras_cnns.values import Range, Value
from training.data.pillow_ops import OPERATIONS, operate
from training.data.stateless_random import integers

# Sub-policies: two of (operation, probability, magnitude), with the published magnitude even if it has no effect.
IMAGENET = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 4), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 7)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 2)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 8), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("colour", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 2)),
    (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("colour", 1.0, 2)),
    (("colour", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 8)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 9)),
    (("colour", 0.4, 0), ("equalize", 0.6, 3)),
    # The last five stand twice in the paper.
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
)
CIFAR = (
    (("invert", 0.1, 7), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("auto_contrast", 0.5, 8), ("equalize", 0.9, 2)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("colour", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 5), ("equalize", 0.5, 1)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("colour", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 7), ("auto_contrast", 0.4, 8)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("colour", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 3)),
    (("equalize", 0.2, 0), ("auto_contrast", 0.6, 0)),
    (("equalize", 0.2, 8), ("equalize", 0.6, 4)),
    (("colour", 0.9, 9), ("equalize", 0.6, 6)),
    (("auto_contrast", 0.8, 4), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("colour", 0.7, 0)),
    (("solarize", 0.4, 5), ("auto_contrast", 0.9, 3)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("auto_contrast", 0.9, 2), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 8), ("invert", 0.1, 3)),
    (("translate_y", 0.7, 9), ("auto_contrast", 0.9, 1)),
)
# And the largest translation, as a fraction of the side: 150 of 331 in the paper, 10 of 32 in its CIFAR program.
POLICIES = {"imagenet": (IMAGENET, 150 / 331), "cifar": (CIFAR, 10 / 32)}


@dataclass(frozen=True)
class AutoAugment(Value):
    """One of 25 learned pairs of operations per image (Cubuk et al. 2018, appendix tables 7 and 9)."""

    policy: Literal["imagenet", "cifar"] = "imagenet"

    def __call__(self, images, draw):
        import tensorflow as tf

        pairs, shift = POLICIES[self.policy]
        pair = integers(draw(0), len(pairs))
        for slot in range(2):
            names, chances, magnitudes = zip(*(p[slot] for p in pairs), strict=True)
            operation = tf.gather([OPERATIONS.index(name) for name in names], pair)
            applied = draw(1 + slot) < tf.gather(tf.constant(chances, tf.float32), pair)
            operation = tf.where(applied, operation, OPERATIONS.index("identity"))
            magnitude = tf.gather(tf.constant(magnitudes, tf.float32), pair)
            images = operate(images, operation, magnitude, random_sign(draw(3 + slot)), shift)
        return images


@dataclass(frozen=True)
class RandAugment(Value):
    """`ops` of 14 operations per image, all of one magnitude (Cubuk et al. 2019, section 3 and figure 2)."""

    ops: Annotated[int, Range(1, 14)] = 2
    magnitude: Annotated[float, Range(0, 10)] = 9

    def __call__(self, images, draw):
        import tensorflow as tf

        for slot in range(self.ops):
            # RandAugment does not have the last operation, invert.
            operation = integers(draw(2 * slot), len(OPERATIONS) - 1)
            magnitude = tf.fill(tf.shape(operation), float(self.magnitude))
            images = operate(images, operation, magnitude, random_sign(draw(2 * slot + 1)), 150 / 331)
        return images


def random_sign(drawn):
    """-1.0 or 1.0."""
    import tensorflow as tf

    return tf.where(drawn < 0.5, -1.0, 1.0)
