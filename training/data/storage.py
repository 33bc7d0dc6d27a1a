"""Storage of images: decoded in one array, or encoded in memory or in files, with one interface.

A storage has `len()`, `[i]` (a uint8 array of height, width, channels), `take(indices)` and `channels`. The two
encoded kinds also have `read(tensor of indices) -> tensor of encoded bytes`, for use inside a tf.data function.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


def max_bytes() -> int:
    """The limit of a data set in memory: a third of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 3


@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded images of one size: a uint8 array (n, height, width, channels)."""

    array: np.ndarray

    def __post_init__(self):
        if self.array.ndim != 4 or self.array.dtype != np.uint8:
            raise ValueError(f"pixels must be uint8 (n, h, w, c), got {self.array.dtype} {self.array.shape}")

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.array[index]

    @property
    def channels(self) -> int:
        return self.array.shape[-1]

    @cached_property
    def tensor(self):
        """The array as a tensor."""
        import tensorflow as tf

        with tf.init_scope():  # an eager tensor, even if a graph is the first to need it
            return tf.constant(self.array)

    def name(self, index: int) -> str:
        """The name of an image in a log: its index."""
        return str(index)

    def take(self, indices) -> "Pixels":
        return Pixels(self.array[indices])


@dataclass(frozen=True, eq=False)
class Encoded:
    """Encoded images (JPEG, PNG, BMP, GIF), perhaps of different sizes. `items` are byte strings, or paths."""

    items: Sequence
    channels: int = 3

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.decoded(self.read(index), index).numpy()

    def decoded(self, data, index):
        """The image in the encoded bytes of `read(index)`, upright."""
        return decode(data, self.channels)

    def is_turned(self, index):
        """Whether the EXIF orientation says that the stored image is not upright."""
        return False

    def name(self, index: int) -> str:
        """The name of an image in a log: its index, or its path."""
        return str(index)

    def take(self, indices):
        return type(self)(tuple(self.items[i] for i in indices), self.channels)

    @cached_property
    def _strings(self):
        import tensorflow as tf

        with tf.init_scope():
            return tf.constant(list(self.items), tf.string)

    def read(self, index):
        """The encoded bytes of one image; `index` may be a tensor."""
        return self._strings[index]


@dataclass(frozen=True, eq=False)
class Files(Encoded):
    """Encoded images in files. `items` are paths; `turns` their EXIF orientations, 1 to 8, () if all are 1."""

    turns: tuple[int, ...] = ()

    def name(self, index: int) -> str:
        return self.items[index]

    def take(self, indices):
        turns = tuple(self.turns[i] for i in indices) if self.turns else ()
        return Files(tuple(self.items[i] for i in indices), self.channels, turns)

    @cached_property
    def _turns(self):
        import tensorflow as tf

        with tf.init_scope():
            return tf.constant(self.turns, tf.int32)

    def is_turned(self, index):
        return self._turns[index] != 1 if self.turns else False

    def decoded(self, data, index):
        image = super().decoded(data, index)
        return upright(image, self._turns[index]) if self.turns else image

    def read(self, index):
        import tensorflow as tf

        return tf.io.read_file(super().read(index))


def decode(data, channels: int):
    """Encoded bytes -> uint8 tensor (height, width, channels), with 16 bits cut to 8.

    It is the first frame of an animation, without transparency; the EXIF orientation is ignored.
    """
    import tensorflow as tf

    image = tf.io.decode_image(data, channels=channels, expand_animations=False)
    return tf.ensure_shape(image, (None, None, channels))


def upright(image, turn):
    """The image (height, width, channels) upright, from its EXIF orientation 1 to 8, which may be a tensor.

    For 5 to 8 rows and columns are exchanged; then rows, columns, both or none are reversed.
    """
    import tensorflow as tf

    turn = tf.convert_to_tensor(turn)
    image = tf.cond(turn >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    for axis, orientations in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))):
        reverse = tf.reduce_any(turn == orientations)
        image = tf.where(reverse, tf.reverse(image, (axis,)), image)
    return image
