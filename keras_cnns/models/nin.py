"""Lin, Chen & Yan (2013): Network In Network. arXiv 1312.4400.

A small perceptron processes each patch, as a convolution followed by 1x1 convolutions. The last 1x1 has one map
for each class, and the average of a map is the score of its class; there is no dense layer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from keras.layers import Dropout, GlobalAveragePooling2D

from keras_cnns.architecture import Architecture
from keras_cnns.blocks import cross_entropy, he_fan_in
from keras_cnns.blocks.conv import conv_relu, relu
from keras_cnns.blocks.head import predictions
from keras_cnns.layers import CeilMaxPooling2D, Conv2D
from keras_cnns.preprocessing import CIFAR, MEAN
from keras_cnns.values import Count, Fraction, Range, Value, by_name

PAPER = "Lin et al. 2013, Network In Network, arXiv 1312.4400"


@dataclass(frozen=True)
class Mlpconv(Value):
    """A convolution and the 1x1 convolutions of its perceptron, each with ReLU (section 3.1).

    Weights are initialised by He's rule (fan-in); the authors chose a deviation from 0.001 to 0.05 for each layer.

    Attributes:
        kernel: of the first convolution.
        widths: filters of the convolution, then of each layer of the perceptron.
        stride, pad: of the first convolution; None pads half the kernel.
    """

    kernel: Count
    widths: tuple[Count, ...]
    stride: Count = 1
    pad: Annotated[int, Range(0, 64)] | None = None

    def __call__(self, x, name: str):
        for i, width in enumerate(self.widths, 1):
            first = {"stride": self.stride, "pad": self.pad} if i == 1 else {}
            kernel = self.kernel if i == 1 else 1
            x = conv_relu(x, width, kernel, init=he_fan_in, name=f"{name}_conv{i}", **first)
        return x


@dataclass(frozen=True)
class NINBody(Value):
    """Mlpconv layers, with 3x3 max-pooling of stride 2 (ceil mode) and dropout between them.

    Attributes:
        layers: the mlpconv layers; the last 1x1 of the last one belongs to the head.
        dropout: rate after each pooling; 0 for none.
    """

    layers: tuple[Mlpconv, ...]
    dropout: tuple[Fraction, ...]

    def check(self):
        if len(self.dropout) != len(self.layers) - 1:
            raise ValueError(f"dropout must have {len(self.layers) - 1} rates, got {self.dropout}")

    def __call__(self, x):
        for i, layer in enumerate(self.layers, 1):
            if i > 1:
                # Max-pooling as in the paper's figure; several releases use average pooling for the second one on
                # CIFAR.
                x = CeilMaxPooling2D(3, 2, name=f"pool{i - 1}")(x)
                if self.dropout[i - 2]:
                    x = Dropout(self.dropout[i - 2], name=f"dropout{i - 1}")(x)
            x = layer(x, f"mlpconv{i}")
        return x


@dataclass(frozen=True)
class ClassMaps(Value):
    """The last 1x1 convolution, with one map for each class, and the global average of each map (section 3.2).

    It has a ReLU, as in the released models, so no score is negative. With He initialisation all maps may become
    zero on small data sets (the loss stays at log(classes)); filters of mean zero avoid this.
    """

    loss: Callable = cross_entropy

    def __call__(self, x, classes: int, activation: str | Callable | None):
        # Always in float32, as every head.
        x = Conv2D(classes, 1, kernel_initializer=he_fan_in(), dtype="float32", name="class_maps")(x)
        x = relu(x, name="class_maps_relu", dtype="float32")
        return predictions(GlobalAveragePooling2D(dtype="float32", name="logits")(x), activation)


NIN = Architecture(
    "nin",
    NINBody(
        (
            Mlpconv(11, (96, 96, 96), stride=4, pad=0),
            Mlpconv(5, (256, 256, 256)),
            Mlpconv(3, (384, 384, 384)),
            Mlpconv(3, (1024, 1024)),
        ),
        dropout=(0.0, 0.0, 0.5),
    ),
    ClassMaps(),
    (224, 224, 3),
    1000,
    MEAN,
    f"NIN for ImageNet after {PAPER}; the authors' model of the Caffe zoo.",
    min_size=32,
)
NINCIFAR = Architecture(
    "nin_cifar",
    NINBody(
        (Mlpconv(5, (192, 160, 96)), Mlpconv(5, (192, 192, 192)), Mlpconv(3, (192, 192))),
        dropout=(0.5, 0.5),
    ),
    ClassMaps(),
    (32, 32, 3),
    10,
    CIFAR,
    f"NIN for CIFAR, figure 2 of {PAPER}; both pools are max-pools.",
    min_size=8,
)

PARTS = by_name((ClassMaps, Mlpconv, NINBody))
