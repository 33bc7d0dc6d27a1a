"""Heads: (features, classes, activation) -> predictions. A head names its loss."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras.layers import Activation, AdaptiveAveragePooling2D, Dense, Dropout, Flatten, GlobalAveragePooling2D

from keras_cnns.blocks.conv import gaussian, relu
from keras_cnns.values import Count, Fraction, Value


def cross_entropy() -> keras.losses.Loss:
    """Cross-entropy of integer labels and logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def uniform_dense() -> keras.initializers.Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): torch's dense layer, which most released nets used."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def logits(x, classes: int, init: Callable = uniform_dense, name: str = "logits"):
    """The last dense layer, in float32 whatever the precision of the body."""
    return Dense(classes, kernel_initializer=init(), dtype="float32", name=name)(x)


def predictions(x, activation: str | Callable | None, name: str = "predictions"):
    """The activation of the classes as a layer of its own, so that the logits stay in reach; None gives logits."""
    return x if activation is None else Activation(activation, dtype="float32", name=name)(x)


def dense_relu(x, units: int, *, name: str, init: Callable = uniform_dense, start: float = 0.0):
    """A hidden dense layer and ReLU; `start` is where the biases start."""
    bias = keras.initializers.Constant(start) if start else "zeros"
    x = Dense(units, kernel_initializer=init(), bias_initializer=bias, name=name)(x)
    return relu(x, name=f"{name}_relu")


def flattened(x, cells: tuple[int, int] | None):
    """A map as a vector in the order height, width, channels; first averaged to `cells` where it has others."""
    if cells and tuple(x.shape[1:3]) != cells:
        x = AdaptiveAveragePooling2D(cells, name="adapt")(x)
    return Flatten(name="flatten")(x)


@dataclass(frozen=True)
class Classifier(Value):
    """Global average pooling, dropout if any, and one dense layer that starts as `init` says."""

    loss: Callable = cross_entropy
    dropout: Fraction = 0.0
    init: Callable = uniform_dense

    def __call__(self, x, classes: int, activation: str | Callable | None):
        x = GlobalAveragePooling2D(name="pool")(x)
        if self.dropout:
            x = Dropout(self.dropout, name="dropout")(x)
        return predictions(logits(x, classes, self.init), activation)


@dataclass(frozen=True)
class DenseHead(Value):
    """Hidden dense layers, each with ReLU and dropout, then the classes: the head of AlexNet and VGG.

    The first layer takes the flattened map in the order height, width, channels.

    Attributes:
        units: of the hidden layers.
        first: number of the first hidden layer in names; the papers count the convolutions before it.
        start: where the biases of the hidden layers start.
        cells: the map is averaged to (height, width) first (torchvision's rule for other sizes than the one that
            weights were trained at); None takes it as it comes.
    """

    units: tuple[Count, ...] = (4096, 4096)
    dropout: Fraction = 0.5
    init: Callable = gaussian
    start: float = 0.0
    first: Count = 1
    loss: Callable = cross_entropy
    cells: tuple[Count, Count] | None = None

    any_size = False  # the dense layers follow the input

    def __call__(self, x, classes: int, activation: str | Callable | None):
        x = flattened(x, self.cells)
        for i, units in enumerate(self.units, self.first):
            x = dense_relu(x, units, init=self.init, start=self.start, name=f"fc{i}")
            x = Dropout(self.dropout, name=f"fc{i}_dropout")(x)
        return predictions(logits(x, classes, self.init), activation)
