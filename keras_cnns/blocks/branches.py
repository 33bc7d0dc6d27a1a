"""Units of parallel branches: forms (a) and (b) of ResNeXt, and RepVGG."""

from collections.abc import Callable
from dataclasses import dataclass

from keras.layers import Add, Concatenate

from keras_cnns.blocks.conv import conv, conv_norm, conv_norm_relu, norm, relu
from keras_cnns.blocks.shortcut import Projection
from keras_cnns.blocks.unit import add, no_gate
from keras_cnns.values import Count, Positive, Value


def _branches(x, cardinality: int, filters: int, stride: int, name: str) -> list:
    """1x1 and 3x3 convolutions of all branches, with `filters` channels in total."""
    if filters % cardinality:
        raise ValueError(f"filters must divide by {cardinality} branches, got {filters} ({name})")
    found = []
    for i in range(1, cardinality + 1):
        y = conv_norm_relu(x, filters // cardinality, 1, name=f"{name}_branch{i}_conv1")
        y = conv_norm_relu(y, filters // cardinality, 3, stride=stride, name=f"{name}_branch{i}_conv2")
        found.append(y)
    return found


@dataclass(frozen=True)
class SeparateBranches(Value):
    """1x1, 3x3, 1x1 in `cardinality` separate branches, summed (Xie et al. 2016, figure 3 a).

    Form (c) is `Bottleneck(Conv3x3(groups=cardinality), inner=inner)`. The norm of the last 1x1 is after the
    sum; otherwise the forms would differ.
    """

    cardinality: Count = 32
    inner: Positive = 2
    gate: Callable = no_gate
    shortcut: Callable = Projection()
    expansion: Count = 4

    def __call__(self, x, width: int, stride: int, name: str):
        outer = width * self.expansion
        side = self.shortcut(x, outer, stride, f"{name}_shortcut")
        found = _branches(x, self.cardinality, int(width * self.inner), stride, name)
        last = [conv(y, outer, 1, name=f"{name}_branch{i}_conv3") for i, y in enumerate(found, 1)]
        x = Add(name=f"{name}_sum")(last) if len(last) > 1 else last[0]
        x = self.gate(norm(x, name=f"{name}_conv3_norm"), f"{name}_gate")
        return relu(add(x, side, name), name=f"{name}_relu")


@dataclass(frozen=True)
class EarlyConcatenation(Value):
    """1x1, 3x3 in `cardinality` branches, concatenated before one 1x1 (Xie et al. 2016, figure 3 b)."""

    cardinality: Count = 32
    inner: Positive = 2
    gate: Callable = no_gate
    shortcut: Callable = Projection()
    expansion: Count = 4

    def __call__(self, x, width: int, stride: int, name: str):
        outer = width * self.expansion
        side = self.shortcut(x, outer, stride, f"{name}_shortcut")
        found = _branches(x, self.cardinality, int(width * self.inner), stride, name)
        x = Concatenate(name=f"{name}_concat")(found) if len(found) > 1 else found[0]
        x = self.gate(conv_norm(x, outer, 1, name=f"{name}_conv3"), f"{name}_gate")
        return relu(add(x, side, name), name=f"{name}_relu")


@dataclass(frozen=True)
class RepVGGUnit(Value):
    """ReLU(BN(3x3) + BN(1x1) + BN(x)), the last if the shape stays (Ding et al. 2021, figure 2 b).

    After training, `fuse` merges it into one 3x3 convolution. `gate` is before the ReLU.
    """

    groups: Count = 1
    gate: Callable = no_gate

    def __call__(self, x, width: int, stride: int, name: str):
        options = {"stride": stride, "groups": self.groups}
        branches = [conv_norm(x, width, kernel, name=f"{name}_{kernel}x{kernel}", **options) for kernel in (3, 1)]
        if x.shape[-1] == width and stride == 1:
            branches.append(norm(x, name=f"{name}_identity_norm"))
        x = Add(name=f"{name}_add")(branches)
        return relu(self.gate(x, f"{name}_gate"), name=f"{name}_relu")


@dataclass(frozen=True)
class RepVGGStem(Value):
    """Stage 0: one unit of stride 2 on the image, named `stem`."""

    filters: Count = 64
    unit: Callable = RepVGGUnit()

    def __call__(self, x):
        return self.unit(x, self.filters, 2, "stem")
