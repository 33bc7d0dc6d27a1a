"""Where images lie: decoded in one array, or encoded in files or in memory. One small interface over all three.

A storage has `len()`, `[i]` (a uint8 array of height, width, channels), `take(indices)` and `channels`. The two
encoded kinds also have `read(tensor of indices) -> tensor of encoded bytes`, for use inside a tf.data function.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded images of one size: a uint8 array (n, height, width, channels)."""

    array: np.ndarray

    def __post_init__(self):
        if self.array.ndim != 4 or self.array.dtype != np.uint8:
            raise ValueError(f"pixels are uint8 (n, h, w, c); {self.array.dtype} {self.array.shape} came")

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

        with tf.init_scope():  # an eager tensor, even if the first to ask is a graph
            return tf.constant(self.array)

    def name(self, index: int) -> str:
        """What to call an image in a log: its number in this split."""
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
        return decode(self.read(index), self.channels).numpy()

    def name(self, index: int) -> str:
        """What to call an image in a log: its number in this split, or its path."""
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
    """Encoded images in files. `items` are paths."""

    def name(self, index: int) -> str:
        return self.items[index]

    def read(self, index):
        import tensorflow as tf

        return tf.io.read_file(super().read(index))


def decode(data, channels: int):
    """Encoded bytes -> uint8 tensor (height, width, channels): of an animation the first frame, transparency
    dropped, 16 bits cut to 8. A turned camera's EXIF mark is ignored, in training and everywhere else alike.
    """
    import tensorflow as tf

    image = tf.io.decode_image(data, channels=channels, expand_animations=False)
    return tf.ensure_shape(image, (None, None, channels))
