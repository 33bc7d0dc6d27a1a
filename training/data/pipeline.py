"""The input pipeline of TensorFlow: order, reading, resizing, augmentation and preprocessing of batches.

It has no state: the order is a function of (seed, epoch), an augmentation of (seed, epoch, image). So a resumed
run gets the same batches as an uninterrupted one, and any batch can be made again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from training.data.augment import Window, resize_window
from training.data.dataset import DataSet, Split
from training.data.eval_transform import EvalTransform
from training.data.pillow_ops import round_to_uint8
from training.data.stateless_random import uniform
from training.data.storage import Encoded, Pixels
from training.data.unreadable import UnreadableImages

RESIZED_MEMORY = 2**31
JPEG_RATIOS = (1, 2, 4, 8)  # a JPEG can be decoded at 1/ratio of its size
COPY = 2**20  # more epochs than a run can have
PARALLEL = {"num_parallel_calls": -1}  # tf.data.AUTOTUNE, without importing TensorFlow


@dataclass(frozen=True)
class Shard:
    """A worker's part of every batch, one of `count` equal parts; by default the whole batch."""

    index: int = 0
    count: int = 1

    def columns(self, batch: int) -> np.ndarray:
        """Positions in a training batch: half from its start and half from its end.

        Mixup mixes a batch with its reverse, so this keeps each pair on one worker. A part of odd size is one
        contiguous range, for batches that are not mixed.
        """
        each, start = batch // self.count, self.index * (batch // self.count)
        if each % 2:
            return np.arange(start, start + each)
        front = np.arange(start // 2, start // 2 + each // 2)
        return np.concatenate([front, batch - 1 - front[::-1]])


ALL_SHARDS = Shard()


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Full batches of an epoch over `n` images. Fewer images than a batch make one batch."""
    return n // min(n, batch_size)


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
    repeats: int = 1,
    broken: UnreadableImages | None = None,
    shard: Shard = ALL_SHARDS,
):
    """The training stream: all epochs in one Dataset of (images (b, size, size, channels), int32 (b,)).

    Every epoch has `steps_per_epoch` full batches of a new permutation; the remainder, other images in each epoch,
    is left out. A stream that starts at `first_epoch` and `first_step` equals the rest of the full stream.

    Args:
        size: pixels per side; other images are resized by their shorter side and centre-cropped.
        channels: 1 or 3; grey images are repeated, colours become luma.
        batch_size: global, over all replicas; at most the number of images is used.
        augment: augmentations of `augment.py`, in order; a `Window` must be the first.
        preprocess: called last, on (b, size, size, channels) on the scale 0-255: uint8, or float32 if an
            augmentation gives that. If it keeps uint8, uint8 goes to the device.
        repeats: differently augmented copies of each image in a batch (repeated augmentation, Hoffer et al. 2019;
            Berman et al. 2019). A batch has batch_size / repeats images, an epoch 1 / repeats of all images.
        broken: replaces files that have become unreadable; one object can count over several streams.
        shard: the part of each batch to make; it does not change how an image is augmented.

    Raises:
        ValueError: a `Window` that is not first, channels other than 1 or 3, a batch size that does not divide by
            `repeats`.
        tf.errors.OpError: while iterating, if too many files have become unreadable; `folder.unreadable(split)`
            names them.
    """
    import tensorflow as tf

    check(channels, augment)
    batch, steps = min(batch_size, len(split)), steps_per_epoch(len(split), batch_size)
    if batch % repeats:
        raise ValueError(f"a batch must divide by repeats={repeats}, got {batch}")
    columns = shard.columns(batch)
    crop = augment[0] if augment and isinstance(augment[0], Window) else None

    @tf.autograph.experimental.do_not_convert
    def order(epoch):
        rows = tf.reshape(permuted(len(split), seed, epoch)[: steps * batch // repeats], (steps, batch // repeats))
        # Copies are augmented as in later, unused epochs; COPY is even, for augmentations that alternate.
        when = tf.repeat(epoch + COPY * tf.range(repeats, dtype=tf.int64), batch // repeats)
        rows, when = tf.tile(rows, (1, repeats)), tf.tile(when[None], (steps, 1))
        return tf.data.Dataset.from_tensor_slices(
            (tf.gather(when, columns, axis=1), tf.gather(rows, columns, axis=1))
        )

    def numbers(epoch, index):
        # Drawn for a whole batch: one by one, the hashes would cost more than the crop.
        draw = uniform(seed, epoch, index, 0)
        return epoch, index, tf.stack([draw(k) for k in range(Window.draws)], axis=1)

    def one(epoch, index, drawn):
        if crop is None:
            return epoch, index, read_resized(split.images, index, size)
        return epoch, index, read_cropped(split.images, index, size, crop, lambda k: drawn[k])

    def augmented(epoch, index, images):
        for position, part in enumerate(augment):
            if part is not crop:
                images = part(images, uniform(seed, epoch, index, position))
        return images

    rows = tf.data.Dataset.range(first_epoch, epochs).flat_map(order).skip(first_step)
    if isinstance(split.images, Pixels) and crop is None:
        read = gather_resized(rows, split.images, size)
    else:
        places = rows.map(numbers).unbatch()
        read = (broken or UnreadableImages(split)).guarded(places, one, size)
        read = read.batch(len(columns), drop_remainder=True)
    count = max(0, (epochs - first_epoch) * steps - first_step)
    return finish_batches(read, augmented, split.labels, size, channels, preprocess, count)


def permuted(n: int, seed: int, epoch):
    """Order of `n` images in an epoch, int32 (n,)."""
    import tensorflow as tf

    return tf.random.experimental.stateless_shuffle(tf.range(n), seed=(seed, epoch), alg="philox")


def batch_indices(n: int, batch_size: int, seed: int, epoch: int, step: int, repeats: int = 1) -> list[int]:
    """Indices of the images in a step of an epoch; both count from 0."""
    batch = min(batch_size, n) // repeats
    return permuted(n, seed, epoch).numpy()[step * batch : (step + 1) * batch].tolist()


def eval_batches(
    split: Split,
    *,
    size: int,
    channels: int,
    batch_size: int,
    preprocess: Callable,
    crop: float | EvalTransform = 1.0,
    broken: UnreadableImages | None = None,
    shard: Shard = ALL_SHARDS,
):
    """All images once, in order: (images (b, size, size, channels), int32 (b,)); the last batch may be short.

    Images are resized by their shorter side to `size / crop` and centre-cropped; an `EvalTransform` as `crop` has
    its own rule. See `train_batches`.
    Worker i of n takes every n-th image. All take the same number, since they run in step: if images are missing,
    the last one is repeated, and a third component, weights of 0 or 1, says which images count.
    """
    import tensorflow as tf

    check(channels, ())
    if not isinstance(crop, EvalTransform) and not 0 < crop <= 1:
        raise ValueError(f"crop, the kept fraction of the side, must be above 0 and at most 1, got {crop}")
    each = max(1, batch_size // shard.count)
    count, last = -(-len(split) // shard.count), len(split) - 1

    def place(i):
        return tf.zeros_like(i), tf.minimum(i * shard.count + shard.index, last)

    places = tf.data.Dataset.range(count).map(place)
    if isinstance(split.images, Pixels):
        read = gather_resized(places.batch(each), split.images, size, crop)
    else:
        places = places.map(lambda epoch, index: (epoch, index, 0.0))

        def one(epoch, index, _):
            return epoch, index, read_resized(split.images, index, size, crop)

        read = (broken or UnreadableImages(split)).guarded(places, one, size).batch(each)
    steps = -(-count // each)
    stream = finish_batches(
        read, lambda epoch, index, images: images, split.labels, size, channels, preprocess, steps
    )
    if shard.count == 1:
        return stream
    counted = tf.data.Dataset.range(count).map(
        lambda i: tf.cast(i * shard.count + shard.index <= last, tf.float32)
    )
    return tf.data.Dataset.zip((stream, counted.batch(each))).map(lambda pair, weights: (*pair, weights))


def untouched(images):
    """`preprocess` if the model preprocesses: uint8 goes to the device, a quarter of the size of floats."""
    return images


def check(channels: int, augment: tuple) -> None:
    """Raises ValueError for wrong channels, and for a `Window` that is not the first augmentation."""
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    late = [type(part).__name__ for part in augment[1:] if isinstance(part, Window)]
    if late:
        raise ValueError(f"{late[0]} chooses what is decoded, so it must be the first augmentation")


# --- reading ----------------------------------------------------------------------------------------------------


def gather_resized(rows, images: Pixels, size: int, crop: float | EvalTransform = 1.0):
    """Batches of (epoch, index) -> (epoch, index, uint8 images), for decoded images."""
    import tensorflow as tf

    ready = resize_all(images, size, crop)
    if ready is None:
        return rows.map(lambda e, i: (e, i, resize_and_crop(tf.gather(images.tensor, i), size, crop)), **PARALLEL)
    return rows.map(lambda e, i: (e, i, tf.gather(ready.tensor, i)), **PARALLEL)


def resize_all(images: Pixels, size: int, crop: float | EvalTransform = 1.0) -> Pixels | None:
    """All images after `resize_and_crop`; None if they would fill more than 2 GiB."""
    if images.array.shape[1:3] == (size, size) and crop == 1:
        return images
    if len(images) * size * size * images.channels > RESIZED_MEMORY:
        return None
    out = np.empty((len(images), size, size, images.channels), np.uint8)
    for start in range(0, len(images), 1024):
        out[start : start + 1024] = resize_and_crop(images.array[start : start + 1024], size, crop).numpy()
    return Pixels(out)


def resize_and_crop(images, size: int, crop: float | EvalTransform = 1.0):
    """uint8 (b, h, w, c) -> uint8 (b, size, size, c): shorter side to `size / crop`, then the central square."""
    import tensorflow as tf

    if isinstance(crop, EvalTransform):
        return crop(images)
    images = tf.convert_to_tensor(images)
    if images.shape[1:3] == (size, size) and crop == 1:
        return images
    sides, shorter = tf.shape(images)[1:3], round(size / crop)
    scale = shorter / tf.reduce_min(sides)
    sides = tf.maximum(shorter, tf.cast(tf.round(tf.cast(sides, scale.dtype) * scale), tf.int32))
    images = round_to_uint8(tf.image.resize(images, sides, antialias=True))
    top, left = tf.unstack((sides - size) // 2)
    return tf.ensure_shape(images[:, top : top + size, left : left + size], (None, size, size, images.shape[-1]))


def read_resized(images: Encoded, index, size: int, crop: float | EvalTransform = 1.0):
    """One encoded image, decoded, resized and cropped."""
    return resize_and_crop(images.decoded(images.read(index), index)[None], size, crop)[0]


def decode_window(data, window, ratio: int, channels: int):
    """A window (top, left, height, width) of a JPEG at 1 / `ratio` of its size."""
    import tensorflow as tf

    return tf.image.decode_and_crop_jpeg(data, window // ratio, channels=channels, ratio=ratio)


def read_cropped(images: Pixels | Encoded, index, size: int, part: Window, draw: Callable):
    """The window that `part` draws from one image, resized.

    Of a JPEG only the window is decoded, at 1/2, 1/4 or 1/8 of its size if that is still large enough, which saves
    most of the work for camera photographs.
    """
    import tensorflow as tf

    def from_pixels(image):
        top, left, height, width = tf.unstack(part.window(tf.shape(image)[0], tf.shape(image)[1], draw))
        return image[top : top + height, left : left + width]

    def from_jpeg(data):
        shape = tf.io.extract_jpeg_shape(data)
        window = part.window(shape[0], shape[1], draw)
        too_large = tf.minimum(window[2], window[3]) // size
        choice = sum(tf.cast(too_large >= ratio, tf.int32) for ratio in JPEG_RATIOS[1:])
        return tf.switch_case(
            choice, [partial(decode_window, data, window, ratio, images.channels) for ratio in JPEG_RATIOS]
        )

    if isinstance(images, Pixels):
        image = from_pixels(tf.gather(images.tensor, index))
    else:
        data = images.read(index)
        as_stored = tf.logical_and(tf.io.is_jpeg(data), tf.logical_not(images.is_turned(index)))
        image = tf.cond(as_stored, lambda: from_jpeg(data), lambda: from_pixels(images.decoded(data, index)))
    return tf.ensure_shape(round_to_uint8(resize_window(image, (size, size))), (size, size, images.channels))


# --- finishing --------------------------------------------------------------------------------------------------


def finish_batches(
    read, augmented: Callable, labels: np.ndarray, size: int, channels: int, preprocess: Callable, count: int
):
    """(epoch, index, uint8 images) -> (images, labels), augmented, preprocessed and prefetched."""
    import tensorflow as tf

    labels = tf.constant(labels)

    @tf.autograph.experimental.do_not_convert  # no branch depends on a tensor, and AutoGraph takes a second
    def finish(epoch, index, images):
        images = augmented(epoch, index, images)
        if channels < images.shape[-1]:
            images = tf.cast(images, tf.float32)  # luma of uint8 would be rounded
        images = preprocess(with_channels(images, channels))
        return tf.ensure_shape(images, (None, size, size, channels)), tf.gather(labels, index)

    options = tf.data.Options()
    options.deterministic = True
    # Several workers split each batch by position; sharding by files would give each worker other classes.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    stream = read.map(finish, **PARALLEL).apply(tf.data.experimental.assert_cardinality(count))
    return stream.prefetch(tf.data.AUTOTUNE).with_options(options)


def with_channels(images, channels: int):
    """Grey images repeated, colours converted to luma, or unchanged."""
    import tensorflow as tf

    if images.shape[-1] == channels:
        return images
    return tf.repeat(images, channels, axis=-1) if channels == 3 else tf.image.rgb_to_grayscale(images)


def conversions(dataset: DataSet, size: int, channels: int) -> list[str]:
    """A line for the log on each conversion of the images to the network's input."""
    height, width, depth = dataset.image_shape
    notes = []
    if height is None or height != width:
        images = "images of different sizes" if height is None else f"{height}x{width} images"
        notes.append(f"{images} are resized to {size} by their shorter side and cropped to the middle")
    elif height != size:
        notes.append(f"{height}x{width} images are resized to {size}x{size}")
    if depth == 1 and channels == 3:
        notes.append("grey images are repeated to 3 channels")
    if depth == 3 and channels == 1:
        notes.append("colour images are turned to grey (luma)")
    return notes
