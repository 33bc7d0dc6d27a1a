"""The 3x3 convolution, for the `spatial` field of units: (x, filters, stride, name) -> activated features.

Norm and ReLU follow the convolution in both kinds of units: a pre-activation unit counts them to the next
convolution.
"""

from collections.abc import Callable
from dataclasses import dataclass

from keras_cnns.blocks.conv import conv_norm_relu, he_fan_out
from keras_cnns.values import Count, Value


@dataclass(frozen=True)
class Conv3x3(Value):
    """3x3 convolution, batch norm, ReLU; `groups` is the cardinality of ResNeXt."""

    groups: Count = 1
    init: Callable = he_fan_out

    def __call__(self, x, filters: int, stride: int, name: str):
        return conv_norm_relu(x, filters, 3, stride=stride, groups=self.groups, init=self.init, name=name)
