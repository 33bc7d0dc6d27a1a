"""Plugs of the `spatial` socket: (x, filters, stride, name) -> normalised, activated features.

In a post-activation unit the norm and ReLU close the convolution; in a pre-activation unit the same two open the
next one. Either way they stand behind the spatial convolution, so one plug serves both.
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
