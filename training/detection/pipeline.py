"""From images with boxes to batches: which come when, made to fit, mirrored by lot, preprocessed, padded.

Nothing here depends on what ran before: the order is a function of (seed, epoch), a mirror of (seed, epoch,
image). Images of a batch lie alike, all wide or all high, so that little of it is padding; it has one of two
shapes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_cnns.values import Count, Value
from training.data.stateless_random import uniform
from training.data.storage import Pixels
from training.detection.dataset import NONE, BoxDataset


@dataclass(frozen=True)
class Fit(Value):
    """The shorter side to `shorter` pixels, but the longer to no more than `longer` (section 3.3 of the paper).

    >>> Fit(600, 1000).scale(375, 500), Fit(600, 1000).scale(300, 600)
    (1.6, 1.6666666666666667)
    """

    shorter: Count = 600
    longer: Count = 1000

    def __post_init__(self):
        super().__post_init__()
        if self.shorter > self.longer:
            raise ValueError(f"the shorter side is at most the longer; {self.shorter} and {self.longer} came")

    def scale(self, height, width) -> float:
        """By what an image is enlarged."""
        return min(self.shorter / min(height, width), self.longer / max(height, width))

    def canvas(self, high: bool) -> tuple[int, int]:
        """Height and width of a batch of high or of wide images."""
        return (self.longer, self.shorter) if high else (self.shorter, self.longer)


def is_high(split: BoxDataset) -> np.ndarray:
    """Which images are higher than wide."""
    return split.sizes[:, 0] > split.sizes[:, 1]


def training_plan(split: BoxDataset, batch: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Full batches, in another order every epoch; the last of either kind is filled up with its first."""
    chance = np.random.RandomState([seed, epoch])  # its stream is frozen for ever
    order, high = chance.permutation(len(split)), is_high(split)
    batches = []
    for lie in (False, True):
        some = order[high[order] == lie]
        batches += list(np.resize(some, (-(-len(some) // batch), batch)))
    return [batches[i] for i in chance.permutation(len(batches))]


def measuring_plan(split: BoxDataset, batch: int) -> list[np.ndarray]:
    """Indices of all images, the wide ones first."""
    groups = [np.flatnonzero(is_high(split) == lie) for lie in (False, True)]
    return [g[i : i + batch] for g in groups for i in range(0, len(g), batch)]


def steps_per_epoch(split: BoxDataset, batch: int) -> int:
    """Batches of an epoch."""
    return len(training_plan(split, batch, 0, 0))


def train_batches(
    split: BoxDataset,
    *,
    fit: Fit,
    batch: int,
    seed: int,
    epochs: int,
    first_epoch: int = 0,
    first_step: int = 0,
    mirror: bool,
    preprocess: Callable,
):
    """The training stream as a Dataset of ((images, boxes, labels, extent), labels).

    Images float32 (b, h, w, c), boxes (b, g, 4) in their pixels, labels int32 (b, g) from 1 with 0 for none,
    extent (b, 2): height and width of the image in its padding. A stream from `first_epoch`, and in it from
    `first_step`, equals the rest of the unbroken one. What is doubtful is no box here.
    """
    import tensorflow as tf

    def places():
        for epoch in range(first_epoch, epochs):
            rows = training_plan(split, batch, seed, epoch)
            for row in rows[first_step if epoch == first_epoch else 0 :]:
                for index in row:
                    yield epoch, index

    spec = (tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.int32))
    truth, high = BoxTensors(split), is_high(split)

    def one(epoch, index):
        image, boxes, labels, extent = fitted(split, truth, fit, index)
        if mirror:
            turned = uniform(seed, epoch, index, 0)(0) < 0.5
            image, boxes = tf.cond(turned, lambda: mirrored(image, boxes, extent), lambda: (image, boxes))
        return (padded(preprocess(image), fit, tf.gather(high, index)), boxes, labels, extent), labels

    stream = tf.data.Dataset.from_generator(places, output_signature=spec)
    stream = stream.map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return stream.batch(batch, drop_remainder=True).prefetch(2)


def measuring_batches(split: BoxDataset, *, fit: Fit, batch: int, preprocess: Callable):
    """Pairs (indices, images (b, h, w, c)) of a whole split."""
    import tensorflow as tf

    truth, high = BoxTensors(split), is_high(split)

    def one(index):
        return padded(preprocess(fitted(split, truth, fit, index)[0]), fit, tf.gather(high, index))

    for row in measuring_plan(split, batch):
        images = tf.data.Dataset.from_tensor_slices(row.astype(np.int32))
        images = images.map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        yield row, next(iter(images.batch(len(row))))


class BoxTensors:
    """The boxes of a split as tensors; doubtful ones left out."""

    def __init__(self, split: BoxDataset):
        import tensorflow as tf

        labels = np.where(split.doubtful, NONE, split.labels) + 1
        with tf.init_scope():
            self.boxes = tf.constant(np.where(labels[..., None] > 0, split.boxes, 0), tf.float32)
            self.labels = tf.constant(labels, tf.int32)


def fitted(split: BoxDataset, truth: BoxTensors, fit: Fit, index):
    """One image, float32 0 to 255, at its size, with boxes, labels and extent."""
    import tensorflow as tf

    images = split.images
    if isinstance(images, Pixels):
        image = tf.gather(images.tensor, index)
    else:
        image = images.decoded(images.read(index), index)
    image, scale = resized(image, fit)
    boxes = tf.gather(truth.boxes, index) * tf.tile(scale[::-1], [2])
    return image, boxes, tf.gather(truth.labels, index), tf.cast(tf.shape(image)[:2], tf.float32)


def resized(image, fit: Fit):
    """uint8 (h, w, c) -> float32 of the size that `fit` says, and by what height and width have grown."""
    import tensorflow as tf

    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = tf.minimum(fit.shorter / tf.reduce_min(sides), fit.longer / tf.reduce_max(sides))
    new = tf.maximum(tf.cast(tf.round(sides * scale), tf.int32), 1)
    image = tf.cast(image, tf.float32)
    image = tf.cond(
        tf.reduce_all(new == tf.shape(image)[:2]),
        lambda: image,
        lambda: tf.image.resize(image, new, antialias=True),
    )
    return image, tf.cast(new, tf.float32) / sides


def mirrored(image, boxes, extent):
    """The image and its boxes from right to left; places without a box stay zero."""
    import tensorflow as tf

    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    turned = tf.stack([extent[1] - x2, y1, extent[1] - x1, y2], axis=-1)
    return image[:, ::-1], tf.where((x2 > x1)[:, None], turned, boxes)


def padded(image, fit: Fit, high):
    """An image with zeros below and to the right, of the shape that its batch has: of `high` ones or of wide ones.

    As it was stored: an image that is higher by a pixel may be square when it has been fitted.
    """
    import tensorflow as tf

    canvas = tf.where(high, fit.canvas(True), fit.canvas(False))
    below, right = tf.unstack(canvas - tf.shape(image)[:2])
    return tf.pad(image, [[0, below], [0, right], [0, 0]])
