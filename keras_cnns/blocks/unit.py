"""Residual units: (x, width, stride, name) -> x. Fields `spatial`, `gate` and `shortcut` are building blocks.

He et al. 2016 (Identity Mappings, figure 4) compare five orders of the same layers, (a) to (e). Each is a unit:
`Basic` is (a), the original; `NormAfterAddition`, `ReluBeforeAddition`, `ReluPreActivation` are (b) to (d);
`PreActivationBasic` is (e), full pre-activation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from keras.layers import Add, Dropout

from keras_cnns.blocks.conv import conv, conv_norm, conv_norm_relu, norm, relu
from keras_cnns.blocks.shortcut import BareProjection, Projection
from keras_cnns.blocks.spatial import Conv3x3
from keras_cnns.values import Count, Fraction, Positive, Range, Value


def nothing(x):
    """A `finish` that does nothing."""
    return x


def norm_relu(x):
    """The `finish` of pre-activation networks, whose last sum is not normalised."""
    return relu(norm(x, name="finish_norm"), name="finish_relu")


def no_gate(x, name: str):
    """No gate: returns `x`."""
    return x


def add(branch, side, name: str):
    """The sum of branch and shortcut, or the branch if there is no shortcut."""
    return branch if side is None else Add(name=f"{name}_add")([side, branch])


def _preact(x, shortcut: Callable, filters: int, stride: int, name: str):
    """The first BN-ReLU of a pre-activation unit and the shortcut: (activated, side)."""
    activated = relu(norm(x, name=f"{name}_preact_norm"), name=f"{name}_preact_relu")
    reads = getattr(shortcut, "reads_activation", None)
    raw = reads is None or not reads(x, filters, stride)
    return activated, shortcut(x if raw else activated, filters, stride, f"{name}_shortcut")


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
        return relu(add(x, side, name), name=f"{name}_relu")


@dataclass(frozen=True)
class Bottleneck(Value):
    """1x1, 3x3, 1x1 (He et al. 2015, figure 5 right). Output channels: `expansion` times `width`.

    Attributes:
        spatial: the 3x3.
        inner: width of the 3x3 as a multiple of `width` (2 in Wide ResNet and ResNeXt-50).
        stride_at: which convolution strides: 1 as published (v1), 2 as commonly trained (v1.5).
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
        return relu(add(x, side, name), name=f"{name}_relu")


@dataclass(frozen=True)
class PreActivationBasic(Value):
    """BN-ReLU before each of two 3x3 convolutions, nothing after the sum (He et al. 2016, figure 4 e).

    `dropout` is applied between the convolutions (Zagoruyko & Komodakis 2016).
    """

    spatial: Callable = Conv3x3()
    gate: Callable = no_gate
    shortcut: Callable = BareProjection()
    dropout: Fraction = 0.0

    def __call__(self, x, width: int, stride: int, name: str):
        x, side = _preact(x, self.shortcut, width, stride, name)
        x = self.spatial(x, width, stride, f"{name}_conv1")
        if self.dropout:
            x = Dropout(self.dropout, name=f"{name}_dropout")(x)
        x = self.gate(conv(x, width, 3, name=f"{name}_conv2"), f"{name}_gate")
        return add(x, side, name)


@dataclass(frozen=True)
class PreActivationBottleneck(Value):
    """BN-ReLU before each of 1x1, 3x3, 1x1, nothing after the sum (He et al. 2016). Fields as in `Bottleneck`."""

    spatial: Callable = Conv3x3()
    inner: Positive = 1
    gate: Callable = no_gate
    shortcut: Callable = BareProjection()
    stride_at: Annotated[int, Range(1, 2)] = 2
    expansion: Count = 4

    def __call__(self, x, width: int, stride: int, name: str):
        inner, outer = int(width * self.inner), width * self.expansion
        first, second = (stride, 1) if self.stride_at == 1 else (1, stride)
        x, side = _preact(x, self.shortcut, outer, stride, name)
        x = conv_norm_relu(x, inner, 1, stride=first, name=f"{name}_conv1")
        x = self.spatial(x, inner, second, f"{name}_conv2")
        x = self.gate(conv(x, outer, 1, name=f"{name}_conv3"), f"{name}_gate")
        return add(x, side, name)


@dataclass(frozen=True)
class NormAfterAddition(Value):
    """ReLU(BN(x + W2 ReLU(BN(W1 x)))) (He et al. 2016, figure 4 b): the norm interrupts the identity path."""

    spatial: Callable = Conv3x3()
    gate: Callable = no_gate
    shortcut: Callable = Projection()

    def __call__(self, x, width: int, stride: int, name: str):
        side = self.shortcut(x, width, stride, f"{name}_shortcut")
        x = self.spatial(x, width, stride, f"{name}_conv1")
        x = self.gate(conv(x, width, 3, name=f"{name}_conv2"), f"{name}_gate")
        return relu(norm(add(x, side, name), name=f"{name}_add_norm"), name=f"{name}_relu")


@dataclass(frozen=True)
class ReluBeforeAddition(Value):
    """x + ReLU(BN(W2 ReLU(BN(W1 x)))) (He et al. 2016, figure 4 c): the branch is >= 0, so the sum only grows."""

    spatial: Callable = Conv3x3()
    gate: Callable = no_gate
    shortcut: Callable = Projection()

    def __call__(self, x, width: int, stride: int, name: str):
        side = self.shortcut(x, width, stride, f"{name}_shortcut")
        x = self.spatial(x, width, stride, f"{name}_conv1")
        x = conv_norm_relu(x, width, 3, name=f"{name}_conv2")
        return add(self.gate(x, f"{name}_gate"), side, name)


@dataclass(frozen=True)
class ReluPreActivation(Value):
    """x + BN(W2 ReLU(BN(W1 ReLU(x)))) (He et al. 2016, figure 4 d): ReLU-only pre-activation."""

    spatial: Callable = Conv3x3()
    gate: Callable = no_gate
    shortcut: Callable = Projection()

    def __call__(self, x, width: int, stride: int, name: str):
        side = self.shortcut(x, width, stride, f"{name}_shortcut")
        x = self.spatial(relu(x, name=f"{name}_preact_relu"), width, stride, f"{name}_conv1")
        x = self.gate(conv_norm(x, width, 3, name=f"{name}_conv2"), f"{name}_gate")
        return add(x, side, name)
