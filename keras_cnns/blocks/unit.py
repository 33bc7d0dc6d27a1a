"""Residual units: (x, width, stride, name) -> x. A unit has sockets; what goes in them is handed in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from keras.layers import Add, Dropout

from keras_cnns.blocks.conv import conv, conv_norm, conv_norm_relu, norm, relu
from keras_cnns.blocks.shortcut import BareProjection, Projection, changes_shape
from keras_cnns.blocks.spatial import Conv3x3
from keras_cnns.values import Count, Fraction, Positive, Range, Value

__all__ = ["Basic", "Bottleneck", "PreActivationBasic", "no_gate", "norm_relu", "nothing"]


def nothing(x):
    """A `finish` that does nothing."""
    return x


def norm_relu(x):
    """The `finish` of pre-activation networks: the last sum has not been normalised yet."""
    return relu(norm(x, name="finish_norm"), name="finish_relu")


def no_gate(x, name: str):
    """The empty `gate` socket."""
    return x


def _add(branch, side, name: str):
    return branch if side is None else Add(name=f"{name}_add")([side, branch])


@dataclass(frozen=True)
class Basic(Value):
    """Two 3x3 convolutions (He et al. 2015, figure 5 left). Output channels: `width`."""

    spatial: Callable = Conv3x3()
    gate: Callable = no_gate
    shortcut: Callable = Projection()

    def __call__(self, x, width: int, stride: int, name: str):
        side = self.shortcut(x, width, stride, f"{name}_shortcut")
        x = self.spatial(x, width, stride, f"{name}_conv1")
        x = conv_norm(x, width, 3, name=f"{name}_conv2")
        x = self.gate(x, f"{name}_gate")
        return relu(_add(x, side, name), name=f"{name}_relu")


@dataclass(frozen=True)
class Bottleneck(Value):
    """1x1, 3x3, 1x1 (He et al. 2015, figure 5 right). Output channels: `expansion` times `width`.

    Attributes:
        spatial: the 3x3.
        inner: width of the 3x3 as a multiple of `width` (2 in Wide ResNet and ResNeXt-50).
        stride_at: which convolution strides: 1 as published (v1), 2 as the field trains it (v1.5).
    """

    spatial: Callable = Conv3x3()
    inner: Positive = 1
    gate: Callable = no_gate
    shortcut: Callable = Projection()
    stride_at: Annotated[int, Range(1, 2)] = 2
    expansion: Count = 4

    def __call__(self, x, width: int, stride: int, name: str):
        inner, outer = int(width * self.inner), width * self.expansion
        first, second = (stride, 1) if self.stride_at == 1 else (1, stride)
        side = self.shortcut(x, outer, stride, f"{name}_shortcut")
        x = conv_norm_relu(x, inner, 1, stride=first, name=f"{name}_conv1")
        x = self.spatial(x, inner, second, f"{name}_conv2")
        x = conv_norm(x, outer, 1, name=f"{name}_conv3")
        x = self.gate(x, f"{name}_gate")
        return relu(_add(x, side, name), name=f"{name}_relu")


@dataclass(frozen=True)
class PreActivationBasic(Value):
    """BN-ReLU before each of two 3x3 convolutions, nothing after the sum (He et al. 2016, figure 4 e).

    `dropout` stands between the convolutions (Zagoruyko & Komodakis 2016).
    """

    spatial: Callable = Conv3x3()
    gate: Callable = no_gate
    shortcut: Callable = BareProjection()
    dropout: Fraction = 0.0

    def __call__(self, x, width: int, stride: int, name: str):
        raw = x
        x = relu(norm(x, name=f"{name}_preact_norm"), name=f"{name}_preact_relu")
        shared = changes_shape(raw, width, stride) and getattr(self.shortcut, "reads_activation", False)
        side = self.shortcut(x if shared else raw, width, stride, f"{name}_shortcut")
        x = self.spatial(x, width, stride, f"{name}_conv1")
        if self.dropout:
            x = Dropout(self.dropout, name=f"{name}_dropout")(x)
        x = self.gate(conv(x, width, 3, name=f"{name}_conv2"), f"{name}_gate")
        return _add(x, side, name)
