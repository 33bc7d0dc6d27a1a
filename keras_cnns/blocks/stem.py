"""Stems, for the `stem` field of a row: x -> x, from the image to the first stage."""

from collections.abc import Callable
from dataclasses import dataclass

from keras.layers import MaxPooling2D, ZeroPadding2D

from keras_cnns.blocks.conv import conv, conv_norm_relu, he_fan_out
from keras_cnns.layers import CeilMaxPooling2D
from keras_cnns.values import Count, Value


def _pool(x):
    """3x3 max-pool stride 2 with zeros around the map; after a ReLU they act as -inf."""
    return MaxPooling2D(3, strides=2, name="stem_pool")(ZeroPadding2D(1, name="stem_pool_pad")(x))


@dataclass(frozen=True)
class Stem7x7(Value):
    """7x7 stride 2, batch norm, ReLU, 3x3 max-pool stride 2: 224 -> 56 (He et al. 2015, conv1)."""

    filters: Count = 64

    def __call__(self, x):
        return _pool(conv_norm_relu(x, self.filters, 7, stride=2, name="stem_conv"))


@dataclass(frozen=True)
class StemConv7x7(Value):
    """7x7 stride 2 without norm, then 3x3 max-pool stride 2; the first unit normalises (He et al. 2016).

    The pool reads signed values, so it must not be padded with zeros. Keras pads a pool with -inf, but with a
    stride an even size only at the far side; so the pool has stride 1, and every second value is kept.
    """

    filters: Count = 64

    def __call__(self, x):
        x = conv(x, self.filters, 7, stride=2, name="stem_conv")
        x = MaxPooling2D(3, strides=1, padding="same", name="stem_pool_window")(x)
        return MaxPooling2D(1, strides=2, name="stem_pool")(x)


@dataclass(frozen=True)
class StemCeil7x7(Value):
    """`Stem7x7` with a ceil-mode pool without padding, as in Caffe (the SENet release)."""

    filters: Count = 64

    def __call__(self, x):
        return CeilMaxPooling2D(3, 2, name="stem_pool")(
            conv_norm_relu(x, self.filters, 7, stride=2, name="stem_conv")
        )


@dataclass(frozen=True)
class StemZeroPool7x7(Value):
    """`StemConv7x7` with a bias and zero padding before its pool: the V2 networks of `keras.applications`.

    The values are signed, so the zeros matter; and a bias before zero padding cannot be moved into a later norm.
    """

    filters: Count = 64

    def __call__(self, x):
        return _pool(conv(x, self.filters, 7, stride=2, bias=True, name="stem_conv"))


@dataclass(frozen=True)
class DeepStem(Value):
    """Three 3x3, the first of stride 2, of `filters` / 2, `filters` / 2 and `filters`, then the max-pool.

    Bag of Tricks (He et al. 2018, arXiv 1812.01187), ResNet-C; ResNeSt.
    """

    filters: Count = 64

    def __call__(self, x):
        half = self.filters // 2
        for i, (filters, stride) in enumerate(((half, 2), (half, 1), (self.filters, 1)), 1):
            x = conv_norm_relu(x, filters, 3, stride=stride, name=f"stem_conv{i}")
        return _pool(x)


@dataclass(frozen=True)
class Stem3x3(Value):
    """3x3, batch norm, ReLU at full size (He et al. 2015, CIFAR)."""

    filters: Count = 16

    def __call__(self, x):
        return conv_norm_relu(x, self.filters, 3, name="stem_conv")


@dataclass(frozen=True)
class StemConv3x3(Value):
    """3x3 without norm: the first pre-activation unit normalises (CIFAR)."""

    filters: Count = 16
    init: Callable = he_fan_out

    def __call__(self, x):
        return conv(x, self.filters, 3, init=self.init, name="stem_conv")
