"""Plugs of the `shortcut` socket: (x, filters, stride, name) -> what is added to the branch.

He et al. 2015 call them options A, B and C. Where the shape does not change, A and B are the identity: the data
decide, not a flag.
"""

from collections.abc import Callable
from dataclasses import dataclass

from keras.layers import MaxPooling2D

from keras_cnns.blocks.conv import conv, conv_norm, he_fan_out
from keras_cnns.layers import PadChannels
from keras_cnns.values import Value


def changes_shape(x, filters: int, stride: int) -> bool:
    """Whether a unit's output differs from its input in size or channels."""
    return stride != 1 or x.shape[-1] != filters


def no_shortcut(x, filters: int, stride: int, name: str):
    """The plain nets: nothing to add."""
    return None


@dataclass(frozen=True)
class ZeroPad(Value):
    """Option A: every second pixel, x[:, ::2, ::2], and channels of zeros. No parameters."""

    def __call__(self, x, filters: int, stride: int, name: str):
        if stride != 1:
            x = MaxPooling2D(1, strides=stride, name=f"{name}_subsample")(x)  # a 1x1 window picks, no more
        return PadChannels(filters, name=name)(x) if x.shape[-1] != filters else x


@dataclass(frozen=True)
class Projection(Value):
    """Option B: 1x1 convolution and batch norm where the shape changes, else the identity."""

    init: Callable = he_fan_out

    def __call__(self, x, filters: int, stride: int, name: str):
        if not changes_shape(x, filters, stride):
            return x
        return conv_norm(x, filters, 1, stride=stride, init=self.init, name=name)


@dataclass(frozen=True)
class AlwaysProjection(Value):
    """Option C: 1x1 convolution and batch norm in every unit."""

    init: Callable = he_fan_out

    def __call__(self, x, filters: int, stride: int, name: str):
        return conv_norm(x, filters, 1, stride=stride, init=self.init, name=name)


@dataclass(frozen=True)
class BareProjection(Value):
    """1x1 convolution without norm where the shape changes, else the identity (pre-activation nets).

    `reads_activation`: where it projects, it takes the unit's shared BN-ReLU output instead of the raw input.
    """

    init: Callable = he_fan_out

    reads_activation = True

    def __call__(self, x, filters: int, stride: int, name: str):
        if not changes_shape(x, filters, stride):
            return x
        return conv(x, filters, 1, stride=stride, init=self.init, name=name)
