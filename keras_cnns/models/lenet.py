"""LeCun, Bottou, Bengio & Haffner (1998): Gradient-Based Learning Applied to Document Recognition.

Proceedings of the IEEE 86(11), section II and appendix A: the network, its sparse third layer, its trainable
sub-sampling and its output of radial basis functions, whose centres are 7x12 pictures of the characters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras.layers import Activation, Dense, Flatten, MaxPooling2D, Rescaling

from keras_cnns.architecture import Architecture
from keras_cnns.blocks.conv import relu
from keras_cnns.blocks.head import cross_entropy, logits, predictions
from keras_cnns.layers import RBF, Conv2D, MAPLoss, RBFLoss, SparseConv2D, SubSampling2D, scaled_tanh
from keras_cnns.layers.lenet import uniform_fan_in
from keras_cnns.preprocessing import LENET
from keras_cnns.values import Value, by_name

PAPER = "LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 86(11)"

# Table I: the maps of S2 that each map of C3 reads.
C3 = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# Figure 3: the digits as 7x12 bitmaps, one hexadecimal row each, bit 6 leftmost.
GLYPHS = (
    "3e 00 1c 36 63 63 63 63 36 1c 00 00",
    "0c 1c 3c 0c 0c 0c 0c 0c 0c 3f 00 00",
    "3e 00 3e 63 43 06 1c 30 60 7f 00 00",
    "7f 03 06 0c 1e 03 03 03 63 3e 00 00",
    "3e 00 00 33 33 73 63 63 67 3f 03 03",
    "3e 00 7f 60 60 3c 1e 03 63 3e 00 00",
    "1e 30 60 60 7e 73 63 63 73 3e 00 00",
    "7f 03 03 06 0c 0c 18 18 18 18 00 00",
    "3e 63 63 63 3e 63 63 63 63 3e 00 00",
    "3e 67 63 63 67 3f 03 03 06 3c 00 00",
)


def codes(classes: int) -> np.ndarray:
    """A code of -1 and +1 for each class, (classes, 84): the digits of figure 3, then fixed random codes.

    The paper has codes of all printable ASCII characters; only the digits are used here. Classes beyond the tenth
    get random codes; two of them differ in about 42 of 84 positions, more than most pairs of digits.

    >>> int((codes(10)[6] != codes(10)[8]).sum())
    12
    """
    digits = [[(int(row, 16) >> (6 - column)) & 1 for row in g.split() for column in range(7)] for g in GLYPHS]
    random = np.random.default_rng(1998).integers(0, 2, (max(classes - 10, 0), 84))
    return 2 * np.concatenate([np.array(digits), random])[:classes] - 1


def tanh(x, name: str):
    """The scaled hyperbolic tangent of appendix A."""
    return Activation(scaled_tanh, name=name)(x)


def lenet5_body(x):
    """C1 to C5: 32x32 -> 28x28x6 -> 14x14x6 -> 10x10x16 -> 5x5x16 -> 1x1x120."""
    x = _conv5x5(x, 6, "c1")
    x = tanh(SubSampling2D(name="s2")(x), "s2_tanh")
    x = tanh(SparseConv2D(C3, name="c3")(x), "c3_tanh")
    x = tanh(SubSampling2D(name="s4")(x), "s4_tanh")
    return _conv5x5(x, 120, "c5")


def _conv5x5(x, filters: int, name: str):
    init = uniform_fan_in(25 * x.shape[-1])
    return tanh(Conv2D(filters, 5, kernel_initializer=init, name=name)(x), f"{name}_tanh")


def map_loss() -> keras.losses.Loss:
    """The paper's discriminative loss (equation 9)."""
    return MAPLoss(j=1.0)


def rbf_loss() -> keras.losses.Loss:
    """The paper's first loss (equation 8), the mean penalty of the right class."""
    return RBFLoss()


@dataclass(frozen=True)
class RBFHead(Value):
    """F6, 84 units, and the RBF penalties of the classes; the logits are the negated penalties."""

    loss: Callable = map_loss

    any_size = False  # the dense layers need a fixed input size

    def __call__(self, x, classes: int, activation: str | Callable | None):
        x = Flatten(name="flatten")(x)
        x = tanh(Dense(84, kernel_initializer=uniform_fan_in(x.shape[-1]), name="f6")(x), "f6_tanh")
        penalties = RBF(codes(classes), dtype="float32", name="rbf")(x)
        return predictions(Rescaling(-1.0, dtype="float32", name="logits")(penalties), activation)


def lenet5_modern_body(x):
    """The modern variant with the same sizes: full third layer, max-pooling, ReLU."""
    for i, filters in enumerate((6, 16), 1):
        x = Conv2D(filters, 5, kernel_initializer="he_normal", name=f"conv{i}")(x)
        x = MaxPooling2D(2, name=f"pool{i}")(relu(x, name=f"conv{i}_relu"))
    return x


@dataclass(frozen=True)
class ModernHead(Value):
    """Dense layers of 120, 84 and `classes` units, with ReLU between them."""

    loss: Callable = cross_entropy

    any_size = False  # the dense layers need a fixed input size

    def __call__(self, x, classes: int, activation: str | Callable | None):
        x = Flatten(name="flatten")(x)
        for i, units in enumerate((120, 84), 1):
            x = relu(Dense(units, kernel_initializer="he_normal", name=f"dense{i}")(x), name=f"dense{i}_relu")
        return predictions(logits(x, classes), activation)


LeNet5 = Architecture(
    "lenet5",
    lenet5_body,
    RBFHead(),
    (32, 32, 1),
    10,
    LENET,
    f"LeNet-5 as published, section II of {PAPER}.",
    min_size=32,
)
LeNet5Modern = Architecture(
    "lenet5_modern",
    lenet5_modern_body,
    ModernHead(),
    (32, 32, 1),
    10,
    LENET,
    f"LeNet-5 as it is taught today, after {PAPER}: full C3, max-pooling, ReLU, softmax.",
    min_size=32,
)

PARTS = by_name((RBFHead, ModernHead, lenet5_body, lenet5_modern_body, map_loss, rbf_loss))
