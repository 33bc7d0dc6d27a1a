"""Classifier heads: (features, classes, activation) -> predictions; `loss` is the training loss."""

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
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): torch's dense layer, the initialiser of most released networks."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def logits(x, classes: int, init: Callable = uniform_dense, name: str = "logits"):
    """The last dense layer, always in float32."""
    return Dense(classes, kernel_initializer=init(), dtype="float32", name=name)(x)


def predictions(x, activation: str | Callable | None, name: str = "predictions"):
    """The activation as a separate layer, so that the logits stay accessible; None returns the logits."""
    return x if activation is None else Activation(activation, dtype="float32", name=name)(x)


def dense_relu(x, units: int, *, name: str, init: Callable = uniform_dense, start: float = 0.0):
    """A hidden dense layer and ReLU; `start` is the initial value of the biases."""
    bias = keras.initializers.Constant(start) if start else "zeros"
    x = Dense(units, kernel_initializer=init(), bias_initializer=bias, name=name)(x)
    return relu(x, name=f"{name}_relu")


def flattened(x, cells: tuple[int, int] | None):
    """A map as a vector in the order height, width, channels; first averaged to `cells` if its size differs."""
    if cells and tuple(x.shape[1:3]) != cells:
        x = AdaptiveAveragePooling2D(cells, name="adapt")(x)
    return Flatten(name="flatten")(x)


@dataclass(frozen=True)
class Classifier(Value):
    """Global average pooling, dropout if not 0, and one dense layer initialised by `init`."""

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

    The first layer reads the flattened map in the order height, width, channels.

    Attributes:
        units: of the hidden layers.
        first: number in the name of the first hidden layer; the papers count on from the convolutions.
        start: initial value of the biases of the hidden layers.
        cells: (height, width) to which the map is averaged first (torchvision's rule for sizes other than that of
            training); None leaves the map as it is.
    """

    units: tuple[Count, ...] = (4096, 4096)
    dropout: Fraction = 0.5
    init: Callable = gaussian
    start: float = 0.0
    first: Count = 1
    loss: Callable = cross_entropy
    cells: tuple[Count, Count] | None = None

    any_size = False  # the dense layers need a fixed input size

    def __call__(self, x, classes: int, activation: str | Callable | None):
        x = flattened(x, self.cells)
        for i, units in enumerate(self.units, self.first):
            x = dense_relu(x, units, init=self.init, start=self.start, name=f"fc{i}")
            x = Dropout(self.dropout, name=f"fc{i}_dropout")(x)
        return predictions(logits(x, classes, self.init), activation)
