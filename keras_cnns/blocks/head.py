"""Heads: (features, classes, activation) -> predictions. A head names its loss."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras.layers import Activation, Dense, GlobalAveragePooling2D

from keras_cnns.values import Value


def cross_entropy() -> keras.losses.Loss:
    """Cross-entropy of integer labels and logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def uniform_dense() -> keras.initializers.Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): torch's dense layer, which most released nets used."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def logits(x, classes: int, init: Callable = uniform_dense):
    """The last dense layer, in float32 whatever the precision of the body."""
    return Dense(classes, kernel_initializer=init(), dtype="float32", name="logits")(x)


def predictions(x, activation: str | Callable | None):
    """The activation of the classes as a layer of its own, so that the logits stay in reach; None gives logits."""
    return x if activation is None else Activation(activation, dtype="float32", name="predictions")(x)


@dataclass(frozen=True)
class Classifier(Value):
    """Global average pooling and one dense layer."""

    loss: Callable = cross_entropy

    def __call__(self, x, classes: int, activation: str | Callable | None):
        return predictions(logits(GlobalAveragePooling2D(name="pool")(x), classes), activation)
