"""Images that break after they were indexed: replaced while few, counted, named; too many end the run."""

import sys
from collections.abc import Callable

from training.data.dataset import Split
from training.data.storage import Files
from training.errors import DataError

MOST = 0.001  # of a split
CHUNK = 8  # images read by one thread; watching each alone costs a fifth of reading a photograph
STRIDE = 7919  # a prime: the replacements of neighbours are not neighbours


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


class UnreadableImages:
    """Reads the images of one split's files; in place of one that cannot be read it gives another, label and all.

    An image is replaced by the same one each time. Batches keep their sizes, and a run that is repeated over the
    same broken files sees the same images.

    Args:
        split: whose files are read.
        say: takes one line for each image, when it is first found broken.

    Raises:
        DataError: inside a tf.data function, when more than one in a thousand is broken.
    """

    def __init__(self, split: Split, say: Callable[[str], None] = _tell):
        self.split, self.say = split, say
        self.found: set[int] = set()

    def guarded(self, places, read: Callable, size: int):
        """places of (epoch, index, drawn) -> (epoch, index, image): `read(epoch, index, drawn)`, or of another.

        The order is kept, images have `size` pixels a side. Those in memory are read as they are.
        """
        import tensorflow as tf

        if not isinstance(self.split.images, Files):
            return places.map(read, num_parallel_calls=tf.data.AUTOTUNE)

        def several(*chunk):
            # All of a chunk at once, or, if one cannot be read, one by one. What is left of a batch after an error
            # is short, so it is dropped.
            whole = tf.data.Dataset.from_tensor_slices(chunk)
            count = tf.size(chunk[1], tf.int64)
            at_once = whole.map(read).batch(count, drop_remainder=True).ignore_errors()
            return at_once.concatenate(whole.map(another).batch(count, drop_remainder=True)).take(1)

        def another(epoch, index, drawn):
            kinds = (epoch.dtype, index.dtype, tf.uint8)
            found = tf.py_function(lambda e, i, d: self._another(read, e, i, d), (epoch, index, drawn), kinds)
            for tensor, shape in zip(
                found, (epoch.shape, index.shape, (size, size, self.split.images.channels)), strict=True
            ):
                tensor.set_shape(shape)
            return tuple(found)

        chunks = places.batch(CHUNK)
        return chunks.interleave(several, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).unbatch()

    def _another(self, read: Callable, epoch, index, drawn):
        import tensorflow as tf

        n = len(self.split)
        for turn in range(n):
            place = (int(index) + turn * STRIDE) % n
            try:
                return read(epoch, tf.constant(place, index.dtype), drawn)
            except tf.errors.OpError as error:
                self._note(place, error)
        raise DataError("no image can be read any more")

    def _note(self, place: int, error) -> None:
        if place in self.found:
            return
        self.found.add(place)
        reason = str(error.message).splitlines()[0][:120]
        self.say(f"can no longer be read and is replaced: {self.split.images.name(place)} ({reason})")
        if len(self.found) > MOST * len(self.split):
            raise DataError(f"{len(self.found)} of {len(self.split)} images broke since they were indexed")
