"""Simonyan & Zisserman (2014): Very Deep Convolutional Networks for Large-Scale Image Recognition.

arXiv 1409.1556. 3x3 convolutions and 2x2 max-pooling, nothing else, in six columns of table 1. Three 3x3 have
the receptive field of one 7x7, with 27 C^2 weights instead of 49 C^2 and three ReLUs instead of one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from keras.layers import MaxPooling2D

from keras_cnns.architecture import Architecture
from keras_cnns.blocks import LRN, Classifier, DenseHead, conv_relu
from keras_cnns.blocks.conv import conv_norm_relu
from keras_cnns.preprocessing import CIFAR, TORCH
from keras_cnns.values import Count, Value, by_name

PAPER = "Simonyan & Zisserman 2014, Very Deep Convolutional Networks, arXiv 1409.1556"


@dataclass(frozen=True)
class MaxPool(Value):
    """2x2 max-pooling, the end of a stage; "maxpool" in the table, M here."""

    def __call__(self, x, name: str):
        return MaxPooling2D(2, name=name)(x)


@dataclass(frozen=True)
class Conv1x1(Value):
    """The 1x1 convolution of configuration C, "conv1-256" in the table."""

    filters: Count


def biased_conv_norm_relu(x, filters: int, kernel: int, *, name: str):
    """Convolution, batch norm and ReLU; torchvision keeps the bias, although the norm cancels it."""
    return conv_norm_relu(x, filters, kernel, bias=True, name=name)


@dataclass(frozen=True)
class Column(Value):
    """A column of table 1, read from top to bottom.

    A number is a 3x3 convolution with that many filters. `unit` is (x, filters, kernel, name=) -> activated
    features. Convolutions are initialised by He's rule (fan-out), as in torchvision; the paper used N(0, 0.01)
    and, in the deep columns, the trained layers of column A.

    >>> import keras
    >>> Column((8, M, 16, 16, M))(keras.Input((32, 32, 3))).shape
    (None, 8, 8, 16)
    """

    layers: tuple[Count | Conv1x1 | LRN | MaxPool, ...]
    unit: Callable = conv_relu

    def __call__(self, x):
        stage, index = 1, 0
        for layer in self.layers:
            if isinstance(layer, MaxPool):
                x = layer(x, f"stage{stage}_pool")
                stage, index = stage + 1, 0
            elif isinstance(layer, LRN):
                x = layer(x, f"stage{stage}_lrn{index}")
            else:
                index += 1
                filters, kernel = (layer.filters, 1) if isinstance(layer, Conv1x1) else (layer, 3)
                x = self.unit(x, filters, kernel, name=f"stage{stage}_conv{index}")
        return x


def _imagenet(name: str, row: Column, what: str) -> Architecture:
    # The paper subtracts the mean RGB; all permissively licensed weights (torchvision) use TORCH.
    return Architecture(name, row, DenseHead(), (224, 224, 3), 1000, TORCH, what, min_size=32)


def _cifar(name: str, row: Column) -> Architecture:
    what = f"{name.partition('_')[0].upper().replace('VGG', 'VGG-')} for CIFAR after {PAPER}"
    # At 32 pixels the last map is a single cell, so global average pooling keeps it; the head is one dense layer.
    what += "; batch norm, one dense layer (kuangliu's pytorch-cifar)."
    row = replace(row, unit=biased_conv_norm_relu)
    return Architecture(name, row, Classifier(), (32, 32, 3), 10, CIFAR, what, min_size=32)


# --- Table 1 ----------------------------------------------------------------------------------------------------

M = MaxPool()

A = Column((64, M, 128, M, 256, 256, M, 512, 512, M, 512, 512, M))
A_LRN = Column((64, LRN(), *A.layers[1:]))
B = Column((64, 64, M, 128, 128, M, 256, 256, M, 512, 512, M, 512, 512, M))
C = Column((*B.layers[:8], Conv1x1(256), M, 512, 512, Conv1x1(512), M, 512, 512, Conv1x1(512), M))
D = Column((64, 64, M, 128, 128, M, 256, 256, 256, M, 512, 512, 512, M, 512, 512, 512, M))
E = Column((64, 64, M, 128, 128, M, 256, 256, 256, 256, M, 512, 512, 512, 512, M, 512, 512, 512, 512, M))

VGG11 = _imagenet("vgg11", A, f"VGG-11, column A of table 1 of {PAPER}.")
VGG11LRN = _imagenet("vgg11_lrn", A_LRN, f"VGG-11 with LRN, column A-LRN of table 1 of {PAPER}.")
VGG13 = _imagenet("vgg13", B, f"VGG-13, column B of table 1 of {PAPER}.")
VGG16C = _imagenet("vgg16_c", C, f"VGG-16 with 1x1 convolutions, column C of table 1 of {PAPER}.")
VGG16 = _imagenet("vgg16", D, f"VGG-16, column D of table 1 of {PAPER}.")
VGG19 = _imagenet("vgg19", E, f"VGG-19, column E of table 1 of {PAPER}.")


# --- with batch norm (torchvision), one year later than the paper ------------------------------------------------


def _normed(a: Architecture) -> Architecture:
    citation = f"{a.citation.rstrip('.')}; with batch norm, as in torchvision."
    return replace(a, name=f"{a.name}_bn", row=replace(a.row, unit=biased_conv_norm_relu), citation=citation)


VGG11BN = _normed(VGG11)
VGG13BN = _normed(VGG13)
VGG16BN = _normed(VGG16)
VGG19BN = _normed(VGG19)

VGG11CIFAR = _cifar("vgg11_cifar", A)
VGG13CIFAR = _cifar("vgg13_cifar", B)
VGG16CIFAR = _cifar("vgg16_cifar", D)
VGG19CIFAR = _cifar("vgg19_cifar", E)

PARTS = by_name((Column, Conv1x1, MaxPool, biased_conv_norm_relu))
