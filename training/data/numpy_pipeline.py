"""The input pipeline in NumPy: the counterpart of `pipeline` for JAX and torch, for images in memory.

Batch i of a stream is a function of (seed, i), so a stream can start anywhere. For the same seed the order of the
images is not TensorFlow's, but the augmentation of an image (`numpy_ops`) is the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.data.dataset import Split
from training.data.eval_transform import EvalTransform
from training.data.numpy_ops import TWINS, resize_and_crop, uniform, with_channels
from training.data.pipeline import RESIZED_MEMORY, check, steps_per_epoch
from training.data.storage import Pixels


@dataclass(frozen=True)
class Batches:
    """A stream of `count` batches; batch i is `make(i)`. It can be read again, and from any batch."""

    count: int
    make: Callable[[int], tuple]

    def __len__(self):
        return self.count

    def __getitem__(self, i: int) -> tuple:
        if not 0 <= i < self.count:
            raise IndexError(f"the batch must be from 0 to {self.count - 1}, got {i}")
        return self.make(i)


def unsupported(split: Split, augment: tuple = (), mix=None, repeats: int = 1, growing=None) -> str | None:
    """The arguments that this pipeline does not support, or None."""
    if not isinstance(split.images, Pixels):
        return "images that are not in memory"
    missing = [type(part).__name__ for part in augment if type(part) not in TWINS]
    missing += [name for name, asked in (("mix", mix), ("repeats", repeats > 1), ("growing", growing)) if asked]
    return ", ".join(missing) or None


def train_batches(
    split: Split,
    *,
    size: int,
    channels: int,
    batch_size: int,
    seed: int,
    epochs: int,
    first_epoch: int = 0,
    first_step: int = 0,
    augment: tuple[Callable, ...] = (),
    preprocess: Callable,
    **others,
) -> Batches:
    """As `pipeline.train_batches`, with the same arguments; `others` are those that `unsupported` returns."""
    check(channels, augment)
    batch, steps = min(batch_size, len(split)), steps_per_epoch(len(split), batch_size)
    ready, orders = at_size(split.images, size), {}

    def order(epoch):
        if epoch not in orders:
            orders.clear()
            orders[epoch] = permuted(len(split), seed, epoch)
        return orders[epoch]

    def make(i):
        epoch, step = divmod(first_epoch * steps + first_step + i, steps)
        index = order(epoch)[step * batch : (step + 1) * batch]
        images = ready(index)
        for position, part in enumerate(augment):
            images = TWINS[type(part)](part, images, uniform(seed, epoch, index, position))
        return finish_batches(images, channels, preprocess), split.labels[index]

    return Batches(max(0, (epochs - first_epoch) * steps - first_step), make)


def eval_batches(
    split: Split,
    *,
    size: int,
    channels: int,
    batch_size: int,
    preprocess: Callable,
    crop: float | EvalTransform = 1.0,
    **others,
) -> Batches:
    """As `pipeline.eval_batches`."""
    check(channels, ())
    ready = at_size(split.images, size, crop)

    def make(i):
        index = np.arange(i * batch_size, min((i + 1) * batch_size, len(split)))
        return finish_batches(ready(index), channels, preprocess), split.labels[index]

    return Batches(-(-len(split) // batch_size), make)


def soft_labels(batches: Batches, classes: int, smoothing: float, mix, seed: int, first_step: int) -> Batches:
    """As `mix.soft_labels`, without mixing: smoothing turns integer labels into probabilities."""
    if not smoothing:
        return batches
    rows = np.float32(1 - smoothing) * np.eye(classes, dtype=np.float32) + np.float32(smoothing / classes)

    def make(i):
        images, labels = batches[i]
        return images, rows[labels]

    return Batches(len(batches), make)


def permuted(n: int, seed: int, epoch: int) -> np.ndarray:
    """Order of `n` images in an epoch."""
    return np.random.RandomState([seed, epoch]).permutation(n)  # its stream never changes between NumPy versions


def batch_indices(n: int, batch_size: int, seed: int, epoch: int, step: int, repeats: int = 1) -> list[int]:
    """Indices of the images in a step of an epoch; both count from 0."""
    batch = min(batch_size, n)
    return permuted(n, seed, epoch)[step * batch : (step + 1) * batch].tolist()


def at_size(images: Pixels, size: int, crop: float | EvalTransform = 1.0) -> Callable:
    """A function indices -> resized uint8 images; all are resized first unless they would fill more than 2 GiB."""
    if len(images) * size * size * images.channels > RESIZED_MEMORY:
        return lambda index: resize_and_crop(images.array[index], size, crop)
    blocks = [resize_and_crop(images.array[i : i + 1024], size, crop) for i in range(0, len(images), 1024)]
    ready = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return lambda index: ready[index]


def finish_batches(images, channels: int, preprocess: Callable) -> np.ndarray:
    """Preprocessed images, from uint8 or float32."""
    return np.asarray(preprocess(with_channels(np.asarray(images), channels)))
