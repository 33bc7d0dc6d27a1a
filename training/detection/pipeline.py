"""The input pipeline of detection: order, resizing, random flips, preprocessing and padding of images with boxes.

It has no state: the order is a function of (seed, epoch), a flip of (seed, epoch, image). A batch has landscape or
portrait images only, so that it has little padding; it has one of two shapes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from keras_cnns.values import Count, Value
from training.data.stateless_random import uniform
from training.data.storage import Pixels
from training.detection.dataset import NONE, BoxDataset


@dataclass(frozen=True)
class ResizeRule(Value):
    """Resizes the shorter side to `shorter` pixels, but the longer to at most `longer` (section 3.3 of the paper).

    >>> ResizeRule(600, 1000).scale(375, 500), ResizeRule(600, 1000).scale(300, 600)
    (1.6, 1.6666666666666667)
    """

    ALIASES: ClassVar[tuple[str, ...]] = ("Fit",)

    shorter: Count = 600
    longer: Count = 1000

    def check(self):
        if self.shorter > self.longer:
            raise ValueError(f"shorter must be at most longer, got {self.shorter} and {self.longer}")

    def scale(self, height, width) -> float:
        """The factor by which an image grows."""
        return min(self.shorter / min(height, width), self.longer / max(height, width))

    def canvas(self, portrait: bool) -> tuple[int, int]:
        """Height and width of a batch of portrait or of landscape images."""
        return (self.longer, self.shorter) if portrait else (self.shorter, self.longer)


def is_portrait(split: BoxDataset) -> np.ndarray:
    """Which images are higher than wide."""
    return split.sizes[:, 0] > split.sizes[:, 1]


def train_indices(split: BoxDataset, batch: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Indices of full batches in the order of an epoch; the last of each shape repeats images of its first."""
    rng = np.random.RandomState([seed, epoch])  # its stream never changes between NumPy versions
    order, portrait = rng.permutation(len(split)), is_portrait(split)
    batches = []
    for shape in (False, True):
        same = order[portrait[order] == shape]
        batches += list(np.resize(same, (-(-len(same) // batch), batch)))
    return [batches[i] for i in rng.permutation(len(batches))]


def eval_indices(split: BoxDataset, batch: int) -> list[np.ndarray]:
    """Indices of all images in batches, landscape images first."""
    groups = [np.flatnonzero(is_portrait(split) == shape) for shape in (False, True)]
    return [g[i : i + batch] for g in groups for i in range(0, len(g), batch)]


def steps_per_epoch(split: BoxDataset, batch: int) -> int:
    """Batches of an epoch."""
    return len(train_indices(split, batch, 0, 0))


def train_batches(
    split: BoxDataset,
    *,
    resize: ResizeRule,
    batch: int,
    seed: int,
    epochs: int,
    first_epoch: int = 0,
    first_step: int = 0,
    mirror: bool,
    preprocess: Callable,
):
    """The training stream as a Dataset of ((images, boxes, labels, extent), labels).

    Images are float32 (b, h, w, c), boxes (b, g, 4) in their pixels, labels int32 (b, g) from 1 with 0 for none,
    extent (b, 2) is height and width of the image without padding. A stream that starts at `first_epoch` and
    `first_step` equals the rest of the full stream. Boxes to ignore are left out.
    """
    import tensorflow as tf

    def examples():
        for epoch in range(first_epoch, epochs):
            batches = train_indices(split, batch, seed, epoch)
            for indices in batches[first_step if epoch == first_epoch else 0 :]:
                for index in indices:
                    yield epoch, index

    spec = (tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.int32))
    truth, portrait = BoxTensors(split), is_portrait(split)

    def load(epoch, index):
        image, boxes, labels, extent = read_resized(split, truth, resize, index)
        if mirror:
            flip = uniform(seed, epoch, index, 0)(0) < 0.5
            image, boxes = tf.cond(flip, lambda: flip_image(image, boxes, extent), lambda: (image, boxes))
        return (pad_image(preprocess(image), resize, tf.gather(portrait, index)), boxes, labels, extent), labels

    stream = tf.data.Dataset.from_generator(examples, output_signature=spec)
    stream = stream.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return stream.batch(batch, drop_remainder=True).prefetch(2)


def eval_batches(split: BoxDataset, *, resize: ResizeRule, batch: int, preprocess: Callable):
    """Pairs (indices, images (b, h, w, c)) of a whole split."""
    import tensorflow as tf

    truth, portrait = BoxTensors(split), is_portrait(split)

    def load(index):
        image = preprocess(read_resized(split, truth, resize, index)[0])
        return pad_image(image, resize, tf.gather(portrait, index))

    for indices in eval_indices(split, batch):
        images = tf.data.Dataset.from_tensor_slices(indices.astype(np.int32))
        images = images.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        yield indices, next(iter(images.batch(len(indices))))


class BoxTensors:
    """The boxes of a split as tensors, without those to ignore."""

    def __init__(self, split: BoxDataset):
        import tensorflow as tf

        labels = np.where(split.ignore, NONE, split.labels) + 1
        with tf.init_scope():
            self.boxes = tf.constant(np.where(labels[..., None] > 0, split.boxes, 0), tf.float32)
            self.labels = tf.constant(labels, tf.int32)


def read_resized(split: BoxDataset, truth: BoxTensors, resize: ResizeRule, index):
    """One resized image, float32 0 to 255, with boxes, labels and extent."""
    import tensorflow as tf

    images = split.images
    if isinstance(images, Pixels):
        image = tf.gather(images.tensor, index)
    else:
        image = images.decoded(images.read(index), index)
    image, scale = resize_image(image, resize)
    boxes = tf.gather(truth.boxes, index) * tf.tile(scale[::-1], [2])
    return image, boxes, tf.gather(truth.labels, index), tf.cast(tf.shape(image)[:2], tf.float32)


def resize_image(image, resize: ResizeRule):
    """uint8 (h, w, c) -> resized float32, and the factors by which height and width have grown."""
    import tensorflow as tf

    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = tf.minimum(resize.shorter / tf.reduce_min(sides), resize.longer / tf.reduce_max(sides))
    new = tf.maximum(tf.cast(tf.round(sides * scale), tf.int32), 1)
    image = tf.cast(image, tf.float32)
    image = tf.cond(
        tf.reduce_all(new == tf.shape(image)[:2]),
        lambda: image,
        lambda: tf.image.resize(image, new, antialias=True),
    )
    return image, tf.cast(new, tf.float32) / sides


def flip_image(image, boxes, extent):
    """The image and its boxes flipped horizontally; padding boxes stay zero."""
    import tensorflow as tf

    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    flipped = tf.stack([extent[1] - x2, y1, extent[1] - x1, y2], axis=-1)
    return image[:, ::-1], tf.where((x2 > x1)[:, None], flipped, boxes)


def pad_image(image, resize: ResizeRule, portrait):
    """An image with zeros below and to the right, in the shape of its batch.

    `portrait` is that of the stored image: an image that is higher by one pixel may be square after resizing.
    """
    import tensorflow as tf

    canvas = tf.where(portrait, resize.canvas(True), resize.canvas(False))
    below, right = tf.unstack(canvas - tf.shape(image)[:2])
    return tf.pad(image, [[0, below], [0, right], [0, 0]])
