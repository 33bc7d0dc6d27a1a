"""Zagoruyko & Komodakis (2016): Wide Residual Networks. arXiv 1605.07146.

Few wide layers instead of many thin ones. WRN-d-k has d = 6n + 4 layers including three projections: three stages
of n pre-activation units, k times as wide as the CIFAR ResNet. `WRN28_10.with_unit(dropout=0.3)` adds dropout
between the convolutions.
"""

from keras_cnns.architecture import Architecture
from keras_cnns.blocks import (
    BareProjection,
    Conv3x3,
    PreActivationBasic,
    Staged,
    StemConv3x3,
    he_fan_in,
    norm_relu,
)
from keras_cnns.models.resnet import RESNET50, RESNET101, cifar, imagenet

PAPER = "Zagoruyko & Komodakis 2016, Wide Residual Networks, arXiv 1605.07146"


def wrn_row(depth: int, k: int) -> Staged:
    """The column of WRN-depth-k (table 1); the release initialises by fan-in."""
    unit = PreActivationBasic(Conv3x3(init=he_fan_in), shortcut=BareProjection(init=he_fan_in))
    widths = (16 * k, 32 * k, 64 * k)
    return Staged(((depth - 4) // 6,) * 3, unit, widths, StemConv3x3(16, init=he_fan_in), finish=norm_relu)


def _wrn(depth: int, k: int) -> Architecture:
    return cifar(f"wrn{depth}_{k}", wrn_row(depth, k), f"WRN-{depth}-{k}, table 1 of {PAPER}.")


WRN16_4 = _wrn(16, 4)
WRN16_8 = _wrn(16, 8)
WRN22_8 = _wrn(22, 8)
WRN28_10 = _wrn(28, 10)
WRN40_1 = _wrn(40, 1)
WRN40_2 = _wrn(40, 2)
WRN40_4 = _wrn(40, 4)
WRN40_8 = _wrn(40, 8)
WRN40_10 = _wrn(40, 10)

# ImageNet (section 3.4): the bottleneck's 3x3 at twice the width; post-activation, stride on the 3x3.
WideResNet50_2 = imagenet(
    "wide_resnet50_2", RESNET50.with_unit(inner=2), f"WRN-50-2-bottleneck, section 3.4 of {PAPER}."
)
WideResNet101_2 = imagenet(
    "wide_resnet101_2", RESNET101.with_unit(inner=2), f"WRN-101-2-bottleneck after {PAPER}; torchvision."
)
