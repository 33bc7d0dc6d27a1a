"""Plugs of the `stem` socket: x -> x, from the image to the first stage."""

from collections.abc import Callable
from dataclasses import dataclass

from keras.layers import MaxPooling2D, ZeroPadding2D

from keras_cnns.blocks.conv import conv, conv_norm_relu, he_fan_out
from keras_cnns.values import Count, Value


@dataclass(frozen=True)
class Stem7x7(Value):
    """7x7 stride 2, batch norm, ReLU, 3x3 max-pool stride 2: 224 -> 56 (He et al. 2015, conv1)."""

    filters: Count = 64

    def __call__(self, x):
        x = conv_norm_relu(x, self.filters, 7, stride=2, name="stem_conv")
        x = ZeroPadding2D(1, name="stem_pool_pad")(x)  # zeros are as good as -inf after a ReLU
        return MaxPooling2D(3, strides=2, name="stem_pool")(x)


@dataclass(frozen=True)
class Stem3x3(Value):
    """3x3, batch norm, ReLU at full size (He et al. 2015, CIFAR)."""

    filters: Count = 16

    def __call__(self, x):
        return conv_norm_relu(x, self.filters, 3, name="stem_conv")


@dataclass(frozen=True)
class StemConv3x3(Value):
    """A bare 3x3: the first unit of a pre-activation network normalises it (CIFAR)."""

    filters: Count = 16
    init: Callable = he_fan_out

    def __call__(self, x):
        return conv(x, self.filters, 3, init=self.init, name="stem_conv")
