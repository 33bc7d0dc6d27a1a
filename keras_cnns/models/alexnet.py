"""Krizhevsky, Sutskever & Hinton (2012): ImageNet Classification with Deep Convolutional Neural Networks. NIPS 25.

Five convolutions and three dense layers on two GPUs: layers 2, 4 and 5 read only the half of the channels on their
own GPU, today a convolution of two groups. `AlexNetOWT` is the later network on one GPU, from
Krizhevsky (2014): One Weird Trick for Parallelizing Convolutional Neural Networks, arXiv 1404.5997.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras.layers import Concatenate, Dropout, MaxPooling2D

from keras_cnns.architecture import Architecture
from keras_cnns.blocks import LRN, DenseHead, cross_entropy, gaussian, uniform_dense
from keras_cnns.blocks.conv import conv_relu, split
from keras_cnns.blocks.head import dense_relu, flattened, logits, predictions
from keras_cnns.preprocessing import MEAN, TORCH
from keras_cnns.values import Count, Fraction, Value, by_name

PAPER = "Krizhevsky et al. 2012, ImageNet Classification with Deep Convolutional Neural Networks, NIPS 25"

Widths = tuple[Count, Count, Count, Count, Count]


def pool(x, name: str):
    """Overlapping pooling: 3x3 windows, 2 pixels apart (section 3.4)."""
    return MaxPooling2D(3, strides=2, name=name)(x)


@dataclass(frozen=True)
class AlexNetBody(Value):
    """conv1 to conv5: 227 -> 55 -> 27 -> 13 -> 6. Both towers in one: two groups in conv2, conv4 and conv5.

    The paper states 224 pixels, but 55 cells need 227.

    Attributes:
        widths: filters of the five convolutions.
        init: initialiser of the weights.
        start: initial value of the biases in conv2, conv4 and conv5, "to provide the ReLUs with positive inputs"
            (section 5). Caffe's replica uses 0.1, since training stalled at 1.
    """

    widths: Widths = (96, 256, 384, 384, 256)
    init: Callable = gaussian
    start: float = 1.0

    def check(self):
        if any(width % 2 for width in self.widths):
            raise ValueError(f"widths must be even for two towers, got {self.widths}")

    def __call__(self, x):
        c1, c2, c3, c4, c5 = self.widths
        x = conv_relu(x, c1, 11, stride=4, pad=0, init=self.init, name="conv1")
        x = pool(LRN()(x, "lrn1"), "pool1")
        x = conv_relu(x, c2, 5, groups=2, init=self.init, start=self.start, name="conv2")
        x = pool(LRN()(x, "lrn2"), "pool2")
        x = conv_relu(x, c3, 3, init=self.init, name="conv3")
        x = conv_relu(x, c4, 3, groups=2, init=self.init, start=self.start, name="conv4")
        x = conv_relu(x, c5, 3, groups=2, init=self.init, start=self.start, name="conv5")
        return pool(x, "pool5")


@dataclass(frozen=True)
class AlexNetTowers(AlexNetBody):
    """The same network with two separate towers, as in figure 2: conv1's 96 filters are two times 48.

    `replace(AlexNet, row=AlexNetTowers())` builds it and `carry_weights` copies the weights. The towers meet in
    conv3, in the dense layers, and in the normalisation, whose window includes channels of both towers (section
    3.3: N is the number of all kernels of a layer).
    """

    def __call__(self, x):
        c1, c2, c3, c4, c5 = self.widths
        x = _join(self._towers((x, x), c1, 11, "conv1", stride=4, pad=0), "conv1")
        x = pool(LRN()(x, "lrn1"), "pool1")
        x = _join(self._towers(split(x, 2, name="pool1_tower"), c2, 5, "conv2", start=self.start), "conv2")
        x = pool(LRN()(x, "lrn2"), "pool2")
        two = self._towers((x, x), c3, 3, "conv3")
        two = self._towers(two, c4, 3, "conv4", start=self.start)
        two = self._towers(two, c5, 3, "conv5", start=self.start)
        return pool(_join(two, "conv5"), "pool5")

    def _towers(self, two, filters: int, kernel: int, name: str, **options):
        return [
            conv_relu(x, filters // 2, kernel, init=self.init, name=f"{name}_tower{i}", **options)
            for i, x in enumerate(two, 1)
        ]


def _join(two, name: str):
    return Concatenate(name=f"{name}_join")(two)


def carry_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of an AlexNet with grouped layers to one with towers, or back; outputs become equal.

    A tower has one half of the layer's filters, in order.

    Raises:
        ValueError: a layer of `target` has no counterpart of its shape in `source`.
    """
    given = {layer.name: layer.get_weights() for layer in source.layers if layer.weights}
    for name in [n for n in given if n.endswith("_tower1")]:
        whole = name.removesuffix("_tower1")
        two = zip(given[name], given[f"{whole}_tower2"], strict=True)
        given[whole] = [np.concatenate(halves, axis=-1) for halves in two]
    for layer in target.layers:
        if not layer.weights:
            continue
        whole, _, tower = layer.name.partition("_tower")
        if whole not in given:
            raise ValueError(f"{source.name!r} has no layer {whole!r}")
        values = given[whole]
        layer.set_weights([np.split(v, 2, axis=-1)[int(tower) - 1] for v in values] if tower else values)


# --- 2014: one tower, no normalisation, as in torchvision ---------------------------------------------------


@dataclass(frozen=True)
class AlexNetOWTBody(Value):
    """conv1 to conv5 of the single tower: 224 -> 55 -> 27 -> 13 -> 6.

    Weights are initialised as in torch, U(+-1/sqrt(fan_in)); biases are zero, where torch draws them, too.
    """

    widths: Widths = (64, 192, 384, 256, 256)

    def __call__(self, x):
        c1, c2, c3, c4, c5 = self.widths
        x = pool(conv_relu(x, c1, 11, stride=4, pad=2, init=uniform_dense, name="conv1"), "pool1")
        x = pool(conv_relu(x, c2, 5, init=uniform_dense, name="conv2"), "pool2")
        x = conv_relu(x, c3, 3, init=uniform_dense, name="conv3")
        x = conv_relu(x, c4, 3, init=uniform_dense, name="conv4")
        return pool(conv_relu(x, c5, 3, init=uniform_dense, name="conv5"), "pool5")


@dataclass(frozen=True)
class AlexNetOWTHead(Value):
    """fc6, fc7 and the classes, with dropout before each hidden layer (in 2012: after).

    `cells` as in `keras_cnns.blocks.DenseHead`.
    """

    units: tuple[Count, ...] = (4096, 4096)
    dropout: Fraction = 0.5
    loss: Callable = cross_entropy
    cells: tuple[Count, Count] | None = None

    any_size = False  # the dense layers need a fixed input size

    def __call__(self, x, classes: int, activation: str | Callable | None):
        x = flattened(x, self.cells)
        for i, units in enumerate(self.units, 6):
            x = dense_relu(Dropout(self.dropout, name=f"fc{i}_dropout")(x), units, name=f"fc{i}")
        return predictions(logits(x, classes), activation)


AlexNet = Architecture(
    "alexnet",
    AlexNetBody(),
    DenseHead(start=1.0, first=6),
    (227, 227, 3),
    1000,
    MEAN,  # the paper subtracts the mean image of the training set; these are its means over the pixels
    f"AlexNet, figure 2 of {PAPER}.",
    min_size=67,  # conv1 gives 15 cells, the pools 7, 3 and 1
)
AlexNetOWT = replace(
    AlexNet,
    name="alexnet_owt",
    row=AlexNetOWTBody(),
    head=AlexNetOWTHead(),
    input_shape=(224, 224, 3),
    preprocessing=TORCH,
    citation="AlexNet of one tower, section 5 of Krizhevsky 2014, One Weird Trick for Parallelizing Convolutional "
    "Neural Networks, arXiv 1404.5997; as in torchvision.",
    min_size=63,
)

PARTS = by_name((AlexNetBody, AlexNetTowers, AlexNetOWTBody, AlexNetOWTHead))
