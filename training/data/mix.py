"""Soft labels: label smoothing, Mixup and CutMix, which mix a batch with the same batch in reverse order.

The mixing depends only on (seed, step), so a resumed run repeats it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from keras_cnns.values import Fraction, Positive, Value


@dataclass(frozen=True)
class Mixup(Value):
    """x <- a x + (1 - a) x', labels too, with one a ~ Beta(alpha, alpha) per batch (Zhang et al. 2017)."""

    alpha: Positive = 0.2

    def __call__(self, images, labels, seed):
        import tensorflow as tf

        weight = _beta(self.alpha, seed)
        images = tf.cast(images, tf.float32)
        return tuple(weight * x + (1 - weight) * x[::-1] for x in (images, labels))


@dataclass(frozen=True)
class CutMix(Value):
    """One box per batch of the other image, with labels weighted by its area (Yun et al. 2019)."""

    alpha: Positive = 1.0

    def __call__(self, images, labels, seed):
        import tensorflow as tf

        height, width = images.shape[1:3]
        side = tf.sqrt(1 - _beta(self.alpha, seed))
        centre = tf.random.stateless_uniform((2,), seed + 1)
        inside = [
            tf.abs((tf.range(n, dtype=tf.float32) + 0.5) / n - c) < side / 2
            for n, c in zip((height, width), tf.unstack(centre), strict=True)
        ]
        box = tf.logical_and(inside[0][:, None], inside[1][None, :])
        weight = tf.reduce_mean(tf.cast(box, tf.float32))  # of the box clipped to the image
        mixed = tf.where(box[None, :, :, None], images[::-1], images)
        return mixed, (1 - weight) * labels + weight * labels[::-1]


@dataclass(frozen=True)
class MixupOrCutMix(Value):
    """Mixup or CutMix for each batch, CutMix with probability `chance`: timm's rule if both are given."""

    mixup: Positive = 0.1
    cutmix: Positive = 1.0
    chance: Fraction = 0.5

    def __call__(self, images, labels, seed):
        import tensorflow as tf

        images = tf.cast(images, tf.float32)
        one, other = CutMix(self.cutmix), Mixup(self.mixup)
        turn = tf.random.stateless_uniform((), seed + 2) < self.chance
        return tf.cond(turn, lambda: one(images, labels, seed), lambda: other(images, labels, seed))


def soft_labels(batches, classes: int, smoothing: float, mix: Callable | None, seed: int, first_step: int):
    """Batches (images, int labels) -> (images, probabilities (n, classes)); unchanged without smoothing and mix.

    Args:
        smoothing: fraction of the probability that is spread over all classes (Szegedy et al. 2015).
        mix: (images, labels, seed) -> (mixed images, mixed labels), or None.
        first_step: number of the first batch in the whole run.
    """
    import tensorflow as tf

    if not smoothing and mix is None:
        return batches

    @tf.autograph.experimental.do_not_convert
    def soften(step, batch):
        images, labels = batch
        labels = (1 - smoothing) * tf.one_hot(labels, classes) + smoothing / classes
        return (images, labels) if mix is None else mix(images, labels, tf.stack([tf.cast(seed, tf.int64), step]))

    return batches.enumerate(first_step).map(soften, num_parallel_calls=-1).prefetch(-1)


def _beta(alpha: float, seed):
    """A random number of Beta(alpha, alpha)."""
    import tensorflow as tf

    parts = tf.random.stateless_gamma((2,), seed, alpha)
    total = tf.reduce_sum(parts)
    return tf.where(total > 0, parts[0] / tf.maximum(total, 1e-30), 1.0)  # both underflow for tiny alpha


PARTS = (Mixup, CutMix, MixupOrCutMix)
