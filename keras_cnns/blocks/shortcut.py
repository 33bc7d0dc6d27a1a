"""Shortcuts, for the `shortcut` field of units: (x, filters, stride, name) -> the tensor to add to the branch.

He et al. 2015 call them options A, B and C. A and B are the identity if the shape does not change. A shortcut of
pre-activation units may define `reads_activation(x, filters, stride)`: True if it reads the unit's shared BN-ReLU
output instead of the raw input.
"""

from collections.abc import Callable
from dataclasses import dataclass

from keras.layers import AveragePooling2D, MaxPooling2D

from keras_cnns.blocks.conv import conv, conv_norm, he_fan_out
from keras_cnns.layers import PadChannels
from keras_cnns.values import Value


def changes_shape(x, filters: int, stride: int) -> bool:
    """True if a unit's output differs from its input in size or channels."""
    return stride != 1 or x.shape[-1] != filters


def _subsample(x, stride: int, name: str):
    """x[:, ::stride, ::stride], by a 1x1 pooling."""
    return x if stride == 1 else MaxPooling2D(1, strides=stride, name=f"{name}_subsample")(x)


def no_shortcut(x, filters: int, stride: int, name: str):
    """No shortcut: the plain nets."""
    return None


@dataclass(frozen=True)
class ZeroPad(Value):
    """Option A: every second pixel, x[:, ::2, ::2], and appended channels of zeros. No parameters."""

    def __call__(self, x, filters: int, stride: int, name: str):
        x = _subsample(x, stride, name)
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
class PooledProjection(Value):
    """Option D: 2x2 average pooling where the unit strides, then 1x1 convolution and batch norm.

    No pixel is skipped (He et al. 2018, Bag of Tricks, arXiv 1812.01187, figure 2c; ResNeSt). "same" equals
    torch's ceil mode that excludes the padding.
    """

    init: Callable = he_fan_out

    def __call__(self, x, filters: int, stride: int, name: str):
        if not changes_shape(x, filters, stride):
            return x
        if stride != 1:
            x = AveragePooling2D(stride, padding="same", name=f"{name}_pool")(x)
        return conv_norm(x, filters, 1, init=self.init, name=name)


@dataclass(frozen=True)
class BareProjection(Value):
    """1x1 convolution without norm where the shape changes, else the identity (pre-activation nets)."""

    init: Callable = he_fan_out

    def __call__(self, x, filters: int, stride: int, name: str):
        if not changes_shape(x, filters, stride):
            return x
        return conv(x, filters, 1, stride=stride, init=self.init, name=name)

    def reads_activation(self, x, filters: int, stride: int) -> bool:
        """True where it projects."""
        return changes_shape(x, filters, stride)


@dataclass(frozen=True)
class BareProjectionOrPick(Value):
    """1x1 convolution without norm where the channels change, else every second pixel of the raw input.

    Together with `stride_unit=-1` it is the shortcut of the V2 networks in `keras.applications`.
    """

    init: Callable = he_fan_out

    def __call__(self, x, filters: int, stride: int, name: str):
        if x.shape[-1] == filters:
            return _subsample(x, stride, name)
        return conv(x, filters, 1, stride=stride, init=self.init, name=name)

    def reads_activation(self, x, filters: int, stride: int) -> bool:
        """True where it projects."""
        return x.shape[-1] != filters
