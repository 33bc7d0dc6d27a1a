"""Inception modules (Szegedy et al. 2014, figure 2): (x, name) -> concatenated branches of several sizes.

The channels are in the order 1x1, 3x3, 5x5, pool. The concatenation has the name of the module.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras.layers import Concatenate, MaxPooling2D

from keras_cnns.blocks.conv import conv, conv_relu, norm, relu
from keras_cnns.values import Count, Value


def xavier() -> keras.initializers.Initializer:
    """U(-sqrt(3/fan_in), sqrt(3/fan_in)): Caffe's Xavier, which uses the fan-in only."""
    return keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")


def truncated() -> keras.initializers.Initializer:
    """N(0, 0.01) truncated at two standard deviations: torchvision's GoogLeNet."""
    return keras.initializers.TruncatedNormal(stddev=0.01)


def xavier_conv(x, filters: int, kernel: int, *, name: str, stride: int = 1):
    """Convolution and ReLU, initialised as in BVLC GoogLeNet (Xavier, biases 0.2); the paper does not say how."""
    return conv_relu(x, filters, kernel, stride=stride, init=xavier, start=0.2, name=name)


def truncated_conv_norm(x, filters: int, kernel: int, *, name: str, stride: int = 1):
    """Convolution, batch norm and ReLU of torchvision's GoogLeNet, whose epsilon is 1e-3."""
    x = conv(x, filters, kernel, stride=stride, init=truncated, name=name)
    return relu(norm(x, epsilon=1e-3, name=f"{name}_norm"), name=f"{name}_relu")


def _pool(x, name: str):
    return MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)


@dataclass(frozen=True)
class Inception(Value):
    """The module with reductions (figure 2 b); the first six fields are the columns of table 1.

    Attributes:
        one: filters of the 1x1 branch.
        reduce3, three: of the 3x3 branch, its 1x1 reduction first.
        reduce5, five: of the 5x5 branch.
        pool: of the 1x1 projection after the 3x3 max-pooling.
        kernel5: kernel of the "5x5" branch; torchvision has 3, an acknowledged bug.
        conv: (x, filters, kernel, name=) -> activated features.
    """

    one: Count
    reduce3: Count
    three: Count
    reduce5: Count
    five: Count
    pool: Count
    kernel5: Count = 5
    conv: Callable = xavier_conv

    def __call__(self, x, name: str):
        one = self.conv(x, self.one, 1, name=f"{name}_1x1")
        three = self.conv(x, self.reduce3, 1, name=f"{name}_3x3_reduce")
        three = self.conv(three, self.three, 3, name=f"{name}_3x3")
        five = self.conv(x, self.reduce5, 1, name=f"{name}_5x5_reduce")
        five = self.conv(five, self.five, self.kernel5, name=f"{name}_5x5")
        pool = self.conv(_pool(x, name), self.pool, 1, name=f"{name}_pool_proj")
        return Concatenate(name=name)([one, three, five, pool])


@dataclass(frozen=True)
class NaiveInception(Value):
    """The module without reductions (figure 2 a), which the paper rejects as too costly.

    It keeps all pooled channels, so the output has one + three + five + input channels.
    """

    one: Count
    three: Count
    five: Count
    conv: Callable = xavier_conv

    def __call__(self, x, name: str):
        one = self.conv(x, self.one, 1, name=f"{name}_1x1")
        three = self.conv(x, self.three, 3, name=f"{name}_3x3")
        five = self.conv(x, self.five, 5, name=f"{name}_5x5")
        return Concatenate(name=name)([one, three, five, _pool(x, name)])
