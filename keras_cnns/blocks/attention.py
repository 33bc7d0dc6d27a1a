"""Attention over parallel branches, for the `spatial` field of units: selective kernels and split attention.

Both sum the branches, pool the sum, and compute from it a weight for each branch and channel, a softmax over the
branches. The mean of a sum is the sum of the means, so the branches are pooled first, to avoid adding full-size
maps.
"""

from dataclasses import dataclass
from typing import Annotated

from keras.layers import (
    Activation,
    Add,
    AveragePooling2D,
    GlobalAveragePooling2D,
    Multiply,
    Permute,
    Reshape,
    Softmax,
    ZeroPadding2D,
)

from keras_cnns.blocks.conv import conv, conv_norm, conv_norm_relu, relu, split
from keras_cnns.values import Count, Range, Value


def shares(logits, parts: int, cardinality: int, name: str) -> list:
    """The weights of `parts` branches, each (n, 1, 1, c), from logits (n, 1, 1, parts * c): a softmax over them.

    The logits are ordered (cardinality, parts, channel), the branches (cardinality, channel): each cardinal group
    has its own softmax (the r-softmax of ResNeSt).
    """
    total = logits.shape[-1]
    x = Reshape((cardinality, parts, total // (cardinality * parts)), name=f"{name}_parts")(logits)
    x = Softmax(axis=2, name=f"{name}_softmax")(x)
    if cardinality > 1:
        x = Permute((2, 1, 3), name=f"{name}_order")(x)
    return split(Reshape((1, 1, total), name=f"{name}_flat")(x), parts, name=f"{name}_share")


def weigh(branches: list, weights: list, name: str):
    """The weighted sum of the branches."""
    pairs = zip(branches, weights, strict=True)
    scaled = [Multiply(name=f"{name}_scale{i}")([b, w]) for i, (b, w) in enumerate(pairs, 1)]
    return Add(name=f"{name}_sum")(scaled) if len(scaled) > 1 else scaled[0]


@dataclass(frozen=True)
class SelectiveKernel(Value):
    """Convolutions of several kernel sizes on one input, weighted by attention per channel (Li et al. 2019).

    Attributes:
        branches: (kernel, dilation) of each. (3, 2) is the published 5x5, (5, 1) a true one; a single branch
            is a plain convolution.
        groups: groups of every branch.
        reduction, least: the attention has max(filters / reduction, least) channels.
    """

    branches: tuple[tuple[Count, Count], ...] = ((3, 1), (3, 2))
    groups: Count = 32
    reduction: Count = 16
    least: Count = 32

    def check(self):
        if not self.branches or any(kernel % 2 == 0 for kernel, _ in self.branches):
            raise ValueError(f"branches must be pairs (odd kernel, dilation), at least one, got {self.branches}")

    def __call__(self, x, filters: int, stride: int, name: str):
        options = {"stride": stride, "groups": self.groups}
        found = [
            conv_norm_relu(x, filters, kernel, dilation=dilation, name=f"{name}_branch{i}", **options)
            for i, (kernel, dilation) in enumerate(self.branches, 1)
        ]
        if len(found) == 1:
            return found[0]
        means = [
            GlobalAveragePooling2D(keepdims=True, name=f"{name}_branch{i}_pool")(u) for i, u in enumerate(found, 1)
        ]
        s = Add(name=f"{name}_pooled")(means)
        width = max(filters // self.reduction, self.least)
        z = conv_norm_relu(s, width, 1, name=f"{name}_reduce")
        logits = conv(z, filters * len(found), 1, name=f"{name}_select")
        return weigh(found, shares(logits, len(found), 1, name), name)


@dataclass(frozen=True)
class SplitAttention(Value):
    """Convolution into `radix` splits and their weighted sum (Zhang et al. 2020, figure 2; ResNeSt).

    Attributes:
        radix: number of splits; for one split the weights are a sigmoid.
        cardinality: groups in the sense of ResNeXt. The convolution has radix * cardinality groups.
        reduction, least: the attention has max(filters * radix / reduction, least) channels.
        pool_at: where a strided unit pools instead of striding: 2 after the attention, 1 before it ("-fast").
    """

    radix: Count = 2
    cardinality: Count = 1
    reduction: Count = 4
    least: Count = 32
    pool_at: Annotated[int, Range(1, 2)] = 2

    def __call__(self, x, filters: int, stride: int, name: str):
        if self.pool_at == 1:
            x = _average(x, stride, name)
        total, groups = filters * self.radix, self.radix * self.cardinality
        x = conv_norm_relu(x, total, 3, groups=groups, name=name)
        s = GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
        if self.radix > 1:
            s = Add(name=f"{name}_pooled")(split(s, self.radix, name=f"{name}_pool"))
        width = max(total // self.reduction, self.least)
        options = {"groups": self.cardinality, "bias": True}
        s = relu(conv_norm(s, width, 1, name=f"{name}_reduce", **options), name=f"{name}_reduce_relu")
        logits = conv(s, total, 1, name=f"{name}_select", **options)
        if self.radix > 1:
            weights = shares(logits, self.radix, self.cardinality, name)
        else:
            weights = [Activation("sigmoid", name=f"{name}_sigmoid")(logits)]
        x = weigh(split(x, self.radix, name=f"{name}_split"), weights, name)
        return _average(x, stride, name) if self.pool_at == 2 else x


def _average(x, stride: int, name: str):
    """3x3 average pooling that includes the zeros around the map, unlike Keras' "same"."""
    if stride == 1:
        return x
    x = ZeroPadding2D(1, name=f"{name}_down_pad")(x)
    return AveragePooling2D(3, strides=stride, name=f"{name}_down")(x)
