"""He, Zhang, Ren & Sun (2015): Deep Residual Learning for Image Recognition. arXiv 1512.03385.

A residual unit adds its input to the output of two or three convolutions. The plain networks are the same without
this shortcut; the paper shows that they get worse with depth.
"""

from collections.abc import Callable
from dataclasses import replace

from keras_cnns.architecture import Architecture
from keras_cnns.blocks import Basic, Bottleneck, Classifier, Staged, Stem3x3, Stem7x7, ZeroPad, no_shortcut
from keras_cnns.preprocessing import CIFAR, TORCH

PAPER = "He et al. 2015, Deep Residual Learning for Image Recognition, arXiv 1512.03385"


def imagenet(name: str, row: Callable, citation: str, head: Callable = Classifier()) -> Architecture:  # noqa: B008
    """An architecture for 224x224 colour images and 1000 classes."""
    return Architecture(name, row, head, (224, 224, 3), 1000, TORCH, citation, min_size=32)


def cifar(name: str, row: Callable, citation: str) -> Architecture:
    """An architecture for 32x32 colour images and 10 classes."""
    return Architecture(name, row, Classifier(), (32, 32, 3), 10, CIFAR, citation, min_size=8)


# --- ImageNet (table 1). Shortcut option B; 18 and 34 are basic, the others bottlenecks. -----------------------

RESNET18 = Staged((2, 2, 2, 2), Basic(), stem=Stem7x7())
RESNET34 = replace(RESNET18, depths=(3, 4, 6, 3))
RESNET50 = replace(RESNET34, unit=Bottleneck())
RESNET101 = replace(RESNET50, depths=(3, 4, 23, 3))
RESNET152 = replace(RESNET50, depths=(3, 8, 36, 3))

ResNet18 = imagenet("resnet18", RESNET18, f"ResNet-18, table 1 of {PAPER}.")
ResNet34 = imagenet("resnet34", RESNET34, f"ResNet-34, table 1 of {PAPER}.")

# v1.5, as commonly trained: the 3x3 strides. All modern weights have this form.
V15 = f"{PAPER}; v1.5, stride on the 3x3 (Facebook's release; torchvision)"
ResNet50 = imagenet("resnet50", RESNET50, f"ResNet-50, table 1 of {V15}.")
ResNet101 = imagenet("resnet101", RESNET101, f"ResNet-101, table 1 of {V15}.")
ResNet152 = imagenet("resnet152", RESNET152, f"ResNet-152, table 1 of {V15}.")

# v1, as published: the first 1x1 strides. Same parameters, fewer MACs.
V1 = f"{PAPER}; as published (v1), stride on the first 1x1"
ResNet50V1 = imagenet("resnet50_v1", RESNET50.with_unit(stride_at=1), f"ResNet-50, table 1 of {V1}.")
ResNet101V1 = imagenet("resnet101_v1", RESNET101.with_unit(stride_at=1), f"ResNet-101, table 1 of {V1}.")
ResNet152V1 = imagenet("resnet152_v1", RESNET152.with_unit(stride_at=1), f"ResNet-152, table 1 of {V1}.")

Plain18 = imagenet("plain18", RESNET18.with_unit(shortcut=no_shortcut), f"Plain-18, section 4.1 of {PAPER}.")
Plain34 = imagenet("plain34", RESNET34.with_unit(shortcut=no_shortcut), f"Plain-34, section 4.1 of {PAPER}.")

# --- CIFAR (section 4.2): three stages of n units, 6n + 2 layers, shortcut option A -----------------------------


def cifar_row(depth: int) -> Staged:
    """The CIFAR column of 6n + 2 layers."""
    return Staged(((depth - 2) // 6,) * 3, Basic(shortcut=ZeroPad()), widths=(16, 32, 64), stem=Stem3x3())


def _resnet(depth: int) -> Architecture:
    return cifar(f"resnet{depth}", cifar_row(depth), f"ResNet-{depth} for CIFAR, section 4.2 of {PAPER}.")


def _plain(depth: int) -> Architecture:
    row = cifar_row(depth).with_unit(shortcut=no_shortcut)
    return cifar(f"plain{depth}", row, f"Plain-{depth} for CIFAR, section 4.2 of {PAPER}.")


ResNet20 = _resnet(20)
ResNet32 = _resnet(32)
ResNet44 = _resnet(44)
ResNet56 = _resnet(56)
ResNet110 = _resnet(110)
ResNet1202 = _resnet(1202)

Plain20 = _plain(20)
Plain32 = _plain(32)
Plain44 = _plain(44)
Plain56 = _plain(56)
Plain110 = _plain(110)
