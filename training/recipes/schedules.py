"""Learning-rate schedules as values: factors on the recipe's rate; times are epochs of that recipe.

`factor(epoch, epochs)` takes the exact, fractional epoch of a step. `scaled(f)` stretches the times with the
recipe's length, so that a step at epoch 60 of 200 is at 30 % of any length.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self, get_args

import keras
from keras import ops

from keras_cnns.values import Count, Fraction, Positive, Range, Value

Epoch = Annotated[float, Range(0, 100_000)]


class Factor(Value):
    """A factor on the learning rate; by default it is 1, and the same for a run of any length."""

    def factor(self, epoch, epochs: float):
        return ops.ones_like(epoch)

    def scaled(self, by: float) -> Self:
        return self


@dataclass(frozen=True)
class Constant(Factor):
    """The same rate throughout."""


@dataclass(frozen=True)
class Steps(Factor):
    """Multiplies the rate by `by` at each of the epochs `at`."""

    at: tuple[Epoch, ...]
    by: Fraction = 0.1

    def factor(self, epoch, epochs: float):
        passed = sum(ops.cast(epoch >= at, "float32") for at in self.at)
        return ops.power(ops.cast(self.by, "float32"), passed)

    def scaled(self, by: float) -> "Steps":
        return replace(self, at=tuple(round(a * by, 6) for a in self.at))


@dataclass(frozen=True)
class ExponentialSteps(Factor):
    """Multiplies the rate by `by` every `every` epochs (GoogLeNet: 4 % less every 8 epochs)."""

    every: Annotated[float, Range(1e-6, 100_000)] = 8.0
    by: Fraction = 0.96

    ALIASES: ClassVar[tuple[str, ...]] = ("Every",)

    def factor(self, epoch, epochs: float):
        return ops.power(ops.cast(self.by, "float32"), ops.floor(epoch / self.every + 1e-6))

    def scaled(self, by: float) -> "ExponentialSteps":
        return replace(self, every=round(self.every * by, 6))


@dataclass(frozen=True)
class Cosine(Factor):
    """From the full rate to `floor` times it along half a cosine (Loshchilov & Hutter 2016)."""

    floor: Fraction = 0.0

    def factor(self, epoch, epochs: float):
        along = ops.cos(math.pi * ops.clip(epoch / epochs, 0.0, 1.0))
        return self.floor + (1 - self.floor) * 0.5 * (1 + along)


@dataclass(frozen=True)
class Triangle(Factor):
    """From `start` times the rate straight up to all of it at `peak` of the way, and down to `end` times it."""

    start: Fraction = 0.2
    peak: Annotated[float, Range(0.001, 0.999)] = 0.23
    end: Fraction = 0.07

    def factor(self, epoch, epochs: float):
        along = ops.clip(epoch / epochs, 0.0, 1.0)
        up = self.start + (1 - self.start) * along / self.peak
        down = 1 + (self.end - 1) * (along - self.peak) / (1 - self.peak)
        return ops.minimum(up, down)


@dataclass(frozen=True)
class Sweep(Factor):
    """From `low` to `high` times the rate, exponentially: the range test of Smith 2015, section 3.3."""

    low: Positive = 1e-5
    high: Positive = 10.0

    def factor(self, epoch, epochs: float):
        return self.low * ops.power(self.high / self.low, epoch / epochs)


@dataclass(frozen=True)
class ProgressiveResizing(Value):
    """Image sizes: `start` of the full side for `delay` of the run, then linearly to the full side.

    The last `finetune` of the run has the full side; sides are rounded down to a `multiple` (Tan & Le 2021, in the
    form of Composer's ProgressiveResizing).
    """

    start: Annotated[float, Range(0.1, 1)] = 0.5
    delay: Fraction = 0.5
    finetune: Fraction = 0.2
    multiple: Count = 4

    ALIASES: ClassVar[tuple[str, ...]] = ("Growing",)

    def check(self):
        if self.delay + self.finetune > 1:
            raise ValueError(f"delay plus finetune must be at most 1, got {self.delay} and {self.finetune}")

    def side(self, epoch: int, epochs: int, full: int) -> int:
        """Pixels a side in an epoch, from 0.

        >>> [ProgressiveResizing().side(epoch, 10, 32) for epoch in range(10)]
        [16, 16, 16, 16, 16, 16, 20, 24, 32, 32]
        """
        growth = 1 - self.delay - self.finetune
        share = (epoch / epochs - self.delay) / growth if growth else float(epoch / epochs >= self.delay)
        if epoch >= epochs - round(self.finetune * epochs):
            share = 1.0
        side = full * (self.start + (1 - self.start) * min(1.0, max(0.0, share)))
        return full if side >= full else max(self.multiple, int(side + 1e-6) // self.multiple * self.multiple)


@dataclass(frozen=True)
class Plateau(Factor):
    """Multiplies the rate by `by` when validation has not improved for `patience` epochs, up to `times` times.

    The callback `ReduceLROnPlateau` does it.
    """

    by: Fraction = 0.1
    patience: Count = 5
    times: Count = 3

    def scaled(self, by: float) -> "Plateau":
        return replace(self, patience=max(1, round(self.patience * by)))


@dataclass(frozen=True)
class LinearWarmUp(Factor):
    """The rate rises in a straight line from 0 over the first `epochs`."""

    epochs: Epoch

    def factor(self, epoch, step):
        return ops.clip((epoch + 1e-3) / max(self.epochs, 1e-6), 0.0, 1.0)

    def scaled(self, by: float) -> "LinearWarmUp":
        return replace(self, epochs=round(self.epochs * by, 6))


@dataclass(frozen=True)
class FlatWarmUp(Factor):
    """`by` times the rate for the first `steps` updates (ResNet-110: 0.01 instead of 0.1, about 400 steps).

    The number of updates is the same for a run of any length: it is what brings the first gradients under control.
    """

    steps: Count = 400
    by: Positive = 0.1

    def factor(self, epoch, step):
        return ops.where(step < self.steps, self.by, 1.0)


Schedule = Constant | Steps | ExponentialSteps | Cosine | Triangle | Sweep | Plateau
WarmUp = LinearWarmUp | FlatWarmUp | None


class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """A recipe's rate, warm-up and schedule as a Keras schedule over optimizer steps.

    Attributes:
        plateau_factor: a variable that multiplies the rate; a callback may lower it (`Plateau`).
    """

    def __init__(self, rate: float, schedule: Schedule, warm_up: WarmUp, epochs: float, steps_per_epoch: int):
        self.rate, self.schedule, self.warm_up = rate, schedule, warm_up
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self.plateau_factor = keras.Variable(1.0, trainable=False, name="rate_brake")

    def __call__(self, step):
        step = ops.cast(step, "float32")
        epoch = step / self.steps_per_epoch
        rate = self.rate * self.plateau_factor * self.schedule.factor(epoch, self.epochs)
        return rate if self.warm_up is None else rate * self.warm_up.factor(epoch, step)

    def get_config(self):
        raise TypeError("a Rate is rebuilt from its recipe")


PARTS: tuple[Callable, ...] = (*get_args(Schedule), LinearWarmUp, FlatWarmUp, ProgressiveResizing)
