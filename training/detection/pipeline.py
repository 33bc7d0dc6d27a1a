"""The input pipeline of detection: order, resizing, random flips, preprocessing and padding of images with boxes.

It has no state: the order is a function of (seed, epoch), a flip of (seed, epoch, image). A batch has landscape or
portrait images only, so that it has little padding; it has one of two shapes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from keras_cnns.values import Count, Value
from training.data.pipeline import untouched
from training.data.stateless_random import uniform
from training.data.storage import Pixels
from training.detection.dataset import NONE, BoxDataset

EVALUATION_BATCH = 8


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
    learned = np.where(split.ignore, NONE, split.labels) + 1
    all_boxes = tf.constant(np.where(learned[..., None] > 0, split.boxes, 0), tf.float32)
    all_labels, portrait = tf.constant(learned, tf.int32), is_portrait(split)

    def load(epoch, index):
        image, scale = resize_image(read_image(split, index), resize)
        boxes = tf.gather(all_boxes, index) * tf.tile(scale[::-1], [2])
        labels, extent = tf.gather(all_labels, index), tf.cast(tf.shape(image)[:2], tf.float32)
        if mirror:
            flip = uniform(seed, epoch, index, 0)(0) < 0.5
            image, boxes = tf.cond(flip, lambda: flip_image(image, boxes, extent), lambda: (image, boxes))
        return (pad_image(preprocess(image), resize, tf.gather(portrait, index)), boxes, labels, extent), labels

    stream = tf.data.Dataset.from_generator(examples, output_signature=spec)
    stream = stream.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return stream.batch(batch, drop_remainder=True).prefetch(2)


def eval_batches(split: BoxDataset, resize: ResizeRule, preprocess: Callable):
    """Pairs (indices, images (b, h, w, c)) of a whole split, landscape images first."""
    import tensorflow as tf

    def load(index):
        return fit_to_canvas(read_image(split, index), resize, preprocess)

    for shape in (False, True):
        same = np.flatnonzero(is_portrait(split) == shape).astype(np.int32)
        for first in range(0, len(same), EVALUATION_BATCH):
            indices = same[first : first + EVALUATION_BATCH]
            images = tf.data.Dataset.from_tensor_slices(indices)
            images = images.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            yield indices, next(iter(images.batch(len(indices))))


def read_image(split: BoxDataset, index):
    """One image, uint8 (h, w, c); `index` may be a tensor."""
    import tensorflow as tf

    images = split.images
    if isinstance(images, Pixels):
        return tf.gather(images.tensor, index)
    return images.decoded(images.read(index), index)


def fit_to_canvas(image, resize: ResizeRule, preprocess: Callable = untouched):
    """A stored image, uint8 (h, w, c), resized, preprocessed and padded to the shape of its batch."""
    import tensorflow as tf

    height, width = tf.unstack(tf.shape(image)[:2])
    return pad_image(preprocess(resize_image(image, resize)[0]), resize, height > width)


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
