"""Hu, Shen, Albanie, Sun & Wu (2017): Squeeze-and-Excitation Networks. arXiv 1709.01507.

A residual network with a gate after the last norm of each branch. The published SE-ResNet-50, 101 and 152
stride on the first 1x1: `SEResNet50.with_unit(stride_at=1)`; parameters are the same.
"""

from keras_cnns.architecture import Architecture
from keras_cnns.blocks import SqueezeExcite, Staged
from keras_cnns.models.resnet import (
    RESNET18,
    RESNET34,
    RESNET50,
    RESNET101,
    RESNET152,
    cifar,
    cifar_row,
    imagenet,
)
from keras_cnns.models.resnext import RESNEXT50, RESNEXT101

PAPER = "Hu et al. 2017, Squeeze-and-Excitation Networks, arXiv 1709.01507"

SE = SqueezeExcite(reduction=16)  # table 10


def _se(depth: int, row: Staged) -> Architecture:
    citation = f"SE-ResNet-{depth} after {PAPER}"
    stride = "; stride on the 3x3, as ResNet v1.5" if depth >= 50 else ""
    return imagenet(f"seresnet{depth}", row.with_unit(gate=SE), f"{citation}{stride}.")


SEResNet18 = _se(18, RESNET18)
SEResNet34 = _se(34, RESNET34)
SEResNet50 = _se(50, RESNET50)
SEResNet101 = _se(101, RESNET101)
SEResNet152 = _se(152, RESNET152)

SEResNeXt50_32x4d = imagenet(
    "seresnext50_32x4d", RESNEXT50.with_unit(gate=SE), f"SE-ResNeXt-50 32x4d, table 1 of {PAPER}."
)
SEResNeXt101_32x4d = imagenet(
    "seresnext101_32x4d", RESNEXT101.with_unit(gate=SE), f"SE-ResNeXt-101 32x4d, table 2 of {PAPER}."
)


def _cifar(depth: int) -> Architecture:
    citation = f"SE-ResNet-{depth} for CIFAR after {PAPER}; option A."
    return cifar(f"seresnet{depth}", cifar_row(depth).with_unit(gate=SE), citation)


SEResNet20 = _cifar(20)
SEResNet56 = _cifar(56)
SEResNet110 = _cifar(110)
