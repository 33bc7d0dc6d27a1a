"""Szegedy et al. (2014): Going Deeper with Convolutions. arXiv 1409.4842.

Nine inception modules, whose 1x1 reductions allow 22 layers with a ninth of AlexNet's weights. Two auxiliary
classifiers on 4a and 4d support training and are not used at inference.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from string import ascii_lowercase
from typing import Annotated

import keras
from keras.layers import AdaptiveAveragePooling2D, AveragePooling2D, Dropout, Flatten

from keras_cnns.architecture import Architecture
from keras_cnns.blocks import (
    LRN,
    Classifier,
    Inception,
    no_lrn,
    truncated,
    truncated_conv_norm,
    xavier,
    xavier_conv,
)
from keras_cnns.blocks.head import dense_relu, logits, predictions
from keras_cnns.layers import CeilMaxPooling2D
from keras_cnns.preprocessing import MEAN, TF
from keras_cnns.values import Count, Fraction, Range, Value, by_name

PAPER = "Szegedy et al. 2014, Going Deeper with Convolutions, arXiv 1409.4842"

AUX_WEIGHT = 0.3  # of each auxiliary loss in the training loss (section 5); inference does not use the heads
AUX_PLACES = ("inception_4a", "inception_4d")
AUX_MIN_SIZE = 80  # 4a must be at least 5x5, the window of the heads' pooling


@dataclass(frozen=True)
class GoogLeNetBody(Value):
    """Table 1 from top to bottom: 224 -> 112 -> 56 -> 28 (3a, 3b) -> 14 (4a to 4e) -> 7 (5a, 5b).

    Attributes:
        stages: the modules of stages 3, 4 and 5, each (x, name) -> x.
        widths: filters of conv1, of the reduction before conv2, and of conv2.
        conv: (x, filters, kernel, name=, stride=) -> activated features, in the first layers.
        lrn: (x, name) -> x, after the first pooling and after conv2.
        last_pool: window of the pooling before the last stage.
    """

    stages: tuple[tuple[Callable, ...], ...]
    widths: tuple[Count, Count, Count] = (64, 64, 192)
    conv: Callable = xavier_conv
    # The paper gives no constants; these are Caffe's, which divides alpha = 1e-4 by the five channels.
    lrn: Callable = LRN(bias=1.0, alpha=1e-4 / 5)
    last_pool: Annotated[int, Range(2, 3)] = 3

    def __call__(self, x):
        first, reduce, second = self.widths
        x = self.conv(x, first, 7, stride=2, name="conv1")
        x = self.lrn(CeilMaxPooling2D(3, 2, name="pool1")(x), "lrn1")
        x = self.conv(x, reduce, 1, name="conv2_reduce")
        x = self.lrn(self.conv(x, second, 3, name="conv2"), "lrn2")
        for number, modules in enumerate(self.stages, 3):
            window = self.last_pool if number == len(self.stages) + 2 else 3
            x = CeilMaxPooling2D(window, 2, name=f"pool{number - 1}")(x)
            for letter, module in zip(ascii_lowercase, modules, strict=False):
                x = module(x, f"inception_{number}{letter}")
        return x

    def with_module(self, **changes) -> "GoogLeNetBody":
        """A copy with changed fields of all its modules, as `row.with_module(kernel5=3)`."""
        stages = tuple(tuple(replace(module, **changes) for module in stage) for stage in self.stages)
        return replace(self, stages=stages)


def average_5x5(x, name: str):
    """5x5 average pooling of stride 3: 14 -> 4."""
    return AveragePooling2D(5, strides=3, name=name)(x)


def adaptive_4x4(x, name: str):
    """Adaptive average pooling to 4x4 cells (torchvision): overlapping windows of 4 cells for a map of 14."""
    return AdaptiveAveragePooling2D(4, name=name)(x)


@dataclass(frozen=True)
class AuxHead(Value):
    """An auxiliary classifier (section 5): average, 1x1 convolution, dense layer, dropout, classes."""

    pool: Callable = average_5x5
    filters: Count = 128
    units: Count = 1024
    dropout: Fraction = 0.7
    conv: Callable = xavier_conv
    init: Callable = xavier
    start: float = 0.2

    def __call__(self, x, classes: int, activation: str | Callable | None, name: str):
        x = self.conv(self.pool(x, f"{name}_pool"), self.filters, 1, name=f"{name}_conv")
        x = Flatten(name=f"{name}_flatten")(x)
        x = dense_relu(x, self.units, init=self.init, start=self.start, name=f"{name}_fc")
        x = Dropout(self.dropout, name=f"{name}_dropout")(x)
        return predictions(logits(x, classes, self.init, f"{name}_logits"), activation, f"{name}_predictions")


@dataclass(frozen=True)
class GoogLeNetArchitecture(Architecture):
    """An architecture with optional auxiliary heads; `aux` builds one."""

    aux: Callable = AuxHead()

    def __call__(
        self,
        include_top: bool = True,
        weights: str | Path | None = None,
        input_tensor=None,
        input_shape: tuple[int | None, int | None, int] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | Callable | None = "softmax",
        name: str | None = None,
        aux_heads: bool = False,
    ) -> keras.Model:
        """Builds the network; arguments and errors as in `keras_cnns.architecture.Architecture`.

        Args:
            aux_heads: whether to add both auxiliary heads: then the outputs are `[main, aux1, aux2]`, and the
                training loss is `main + 0.3 aux1 + 0.3 aux2` (`AUX_WEIGHT`). The network without heads that
                shares the weights of such a `model` is `keras.Model(model.input, model.outputs[0])`.

        Raises:
            ValueError: also for heads without a classifier, with an open size or with less than 80 pixels.
        """
        sides = self._checked_shape(input_shape, input_tensor, include_top)[:2]
        if aux_heads and not include_top:
            raise ValueError("aux_heads=True needs include_top=True, got False")
        if aux_heads and (None in sides or min(sides) < AUX_MIN_SIZE):
            rule = f"the auxiliary heads of {self.name} need a fixed size of at least {AUX_MIN_SIZE} pixels a side"
            raise ValueError(f"{rule}, got {sides}")
        options = (include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name)
        return Architecture.__call__(self.with_heads() if aux_heads else self, *options)

    def with_heads(self) -> "GoogLeNetWithHeads":
        """The architecture that always builds both heads."""
        return GoogLeNetWithHeads(**{f.name: getattr(self, f.name) for f in fields(self)})


@dataclass(frozen=True)
class GoogLeNetWithHeads(GoogLeNetArchitecture):
    """GoogLeNet with its auxiliary heads."""

    def _build(self, shape, input_tensor, include_top, pooling, classes, classifier_activation, name):
        main = super()._build(shape, input_tensor, include_top, pooling, classes, classifier_activation, name)
        heads = [
            self.aux(
                main.get_layer(place).output,
                self.classes if classes is None else classes,
                classifier_activation,
                f"aux{i}",
            )
            for i, place in enumerate(AUX_PLACES, 1)
        ]
        return keras.Model(main.input, [main.output, *heads], name=main.name)


# --- Table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj ----------------------------------------------

TABLE1 = GoogLeNetBody(
    (
        (
            Inception(64, 96, 128, 16, 32, 32),
            Inception(128, 128, 192, 32, 96, 64),
        ),
        (
            Inception(192, 96, 208, 16, 48, 64),
            Inception(160, 112, 224, 24, 64, 64),
            Inception(128, 128, 256, 24, 64, 64),
            Inception(112, 144, 288, 32, 64, 64),
            Inception(256, 160, 320, 32, 128, 128),
        ),
        (
            Inception(256, 160, 320, 32, 128, 128),
            Inception(384, 192, 384, 48, 128, 128),
        ),
    )
)

GoogLeNet = GoogLeNetArchitecture(
    "googlenet",
    TABLE1,
    Classifier(dropout=0.4, init=xavier),
    (224, 224, 3),
    1000,
    MEAN,
    f"GoogLeNet, table 1 of {PAPER}.",
    min_size=32,
)

# torchvision's network, for its weights: batch norm, no LRN, and 3x3 instead of 5x5 (its issue 906). It converts
# torch's preprocessing to TF's inside the network; here the preprocessing is TF's.
GoogLeNetTV = replace(
    GoogLeNet,
    name="googlenet_tv",
    row=replace(
        TABLE1.with_module(kernel5=3, conv=truncated_conv_norm),
        conv=truncated_conv_norm,
        lrn=no_lrn,
        last_pool=2,
    ),
    head=Classifier(dropout=0.2, init=truncated),
    preprocessing=TF,
    citation=f"GoogLeNet of torchvision after {PAPER}; batch norm, no LRN, 3x3 in the 5x5 branch.",
    aux=AuxHead(pool=adaptive_4x4, conv=truncated_conv_norm, init=truncated, start=0.0),
)

PARTS = by_name((AuxHead, GoogLeNetArchitecture, GoogLeNetBody, adaptive_4x4, average_5x5))
