"""Replaces, counts and reports image files that become unreadable during training; too many end the run."""

import sys
from collections.abc import Callable
from functools import partial

from training.data.dataset import Split
from training.data.storage import Files
from training.errors import DataError

MAX_FRACTION = 0.001  # of a split
CHUNK = 8  # images per thread; to catch errors of each image alone costs a fifth of reading a photograph
STRIDE = 7919  # a prime, so that neighbours do not get neighbours as replacements


class UnreadableImages:
    """Reads the image files of one split, and replaces an unreadable image by another one with its label.

    An image is replaced by the same one each time. Batches keep their sizes, and a run that is repeated with the
    same unreadable files gets the same images.

    Args:
        split: the split whose files are read.
        say: prints one line for each image when it is first found unreadable; by default on stderr.

    Raises:
        DataError: inside a tf.data function, if more than one in a thousand is unreadable.
    """

    def __init__(self, split: Split, say: Callable[[str], None] | None = None):
        self.split, self.say = split, say or partial(print, file=sys.stderr)
        self.found: set[int] = set()

    def guarded(self, places, read: Callable, size: int):
        """Dataset of (epoch, index, drawn) -> Dataset of (epoch, index, image), by `read` and with replacements.

        The order is kept; images have `size` pixels per side. Images in memory are read without checks.
        """
        import tensorflow as tf

        read = tf.autograph.experimental.do_not_convert(read)
        if not isinstance(self.split.images, Files):
            return places.map(read, num_parallel_calls=tf.data.AUTOTUNE)

        def several(*chunk):
            # A whole chunk, or, if one of its images is unreadable, each alone. After an error the batch is short,
            # so it is dropped.
            whole = tf.data.Dataset.from_tensor_slices(chunk)
            count = tf.size(chunk[1], tf.int64)
            at_once = whole.map(read).batch(count, drop_remainder=True).ignore_errors()
            return at_once.concatenate(whole.map(read_or_replace).batch(count, drop_remainder=True)).take(1)

        def read_or_replace(epoch, index, drawn):
            kinds = (epoch.dtype, index.dtype, tf.uint8)
            found = tf.py_function(lambda e, i, d: self._replacement(read, e, i, d), (epoch, index, drawn), kinds)
            shapes = epoch.shape, index.shape, (size, size, self.split.images.channels)
            for tensor, shape in zip(found, shapes, strict=True):
                tensor.set_shape(shape)
            return tuple(found)

        chunks = places.batch(CHUNK)
        return chunks.interleave(several, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).unbatch()

    def _replacement(self, read: Callable, epoch, index, drawn):
        import tensorflow as tf

        n = len(self.split)
        for turn in range(n):
            place = (int(index) + turn * STRIDE) % n
            try:
                return read(epoch, tf.constant(place, index.dtype), drawn)
            except tf.errors.OpError as error:
                self._note(place, error)
        raise DataError("none of the images can be read any more")

    def _note(self, place: int, error) -> None:
        if place in self.found:
            return
        self.found.add(place)
        reason = str(error.message).splitlines()[0][:120]
        self.say(f"can no longer be read and is replaced: {self.split.images.name(place)} ({reason})")
        if len(self.found) > MAX_FRACTION * len(self.split):
            raise DataError(
                f"{len(self.found)} of {len(self.split)} images have become unreadable during training"
            )
