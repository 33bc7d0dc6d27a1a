"""`Staged`: a network body of stages of units, as a column of a paper's table."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from keras_cnns.blocks.unit import nothing
from keras_cnns.values import Count, Range, Value

Depth = Annotated[int, Range(1, 1_000)]
STAGES = 64


@dataclass(frozen=True)
class Staged(Value):
    """A network body: stem, stages of units, finish. Call it on an image tensor.

    Attributes:
        depths: units in each stage.
        unit: the unit at all positions, or a module-level function (stage, index) -> unit; both count from 1.
        widths: width of each stage, or a tuple with a width for each unit (pruned networks).
        stem, finish: x -> x, before the first and after the last stage.
        stride_unit: which unit of a stage strides: 0 the first, -1 the last (the V2 networks of
            `keras.applications`, with strides (2, 2, 2, 1)).
        strides: stride of each stage.
        first: number of the first stage; a slice of a row keeps the numbers, and so the names of layers.

    `row[:3]` is the stem and three stages, `row.stage(4)` only the fourth stage:

    >>> import keras
    >>> from keras_cnns.blocks import Basic, Stem3x3
    >>> row = Staged((3, 3, 3), Basic(), widths=(16, 32, 64), stem=Stem3x3())
    >>> row(keras.Input((32, 32, 3))).shape
    (None, 8, 8, 64)
    >>> row.stage(3)(row[:2](keras.Input((32, 32, 3)))).shape
    (None, 8, 8, 64)
    """

    depths: tuple[Depth, ...]
    unit: Callable
    widths: tuple[Count | tuple[Count, ...], ...] = (64, 128, 256, 512)
    stem: Callable = nothing
    finish: Callable = nothing
    stride_unit: Annotated[int, Range(-1, 0)] = 0
    first: Annotated[int, Range(1, STAGES)] = 1
    strides: tuple[Annotated[int, Range(1, 2)], ...] = (1, 2, 2, 2)

    def check(self):
        if len(self.depths) > STAGES:
            raise ValueError(f"a row must have at most {STAGES} stages, got {len(self.depths)}")
        if len(self.widths) < len(self.depths):
            raise ValueError(f"widths must have {len(self.depths)} entries, one a stage, got {self.widths}")
        if len(self.strides) < len(self.depths):
            raise ValueError(f"strides must have {len(self.depths)} entries, one a stage, got {self.strides}")
        for depth, width in zip(self.depths, self.widths, strict=False):
            if isinstance(width, tuple) and len(width) != depth:
                raise ValueError(f"a stage of {depth} units needs one width or {depth}, got {width}")

    def __call__(self, x):
        x = self.stem(x)
        for number, index, width, stride in self.places():
            unit = self.unit(number, index) if inspect.isfunction(self.unit) else self.unit
            x = unit(x, width, stride, f"stage{number}_unit{index}")
        return self.finish(x)

    def places(self) -> Iterator[tuple[int, int, int, int]]:
        """Every unit in order: (stage, index, width, stride), stage and index counted from 1."""
        columns = zip(self.depths, self.widths, self.strides, strict=False)
        for number, (depth, width, stride) in enumerate(columns, self.first):
            strides_at = range(depth)[self.stride_unit]
            for i in range(depth):
                own = width[i] if isinstance(width, tuple) else width
                yield number, i + 1, own, stride if i == strides_at else 1

    def __getitem__(self, stages: slice) -> "Staged":
        """The row with some of its stages. The first stage keeps the stem, the last the finish."""
        chosen = range(len(self.depths))[stages]
        if not isinstance(stages, slice) or chosen.step != 1 or not chosen:
            raise ValueError(f"a slice must take consecutive stages, as row[:3], got row[{stages}]")
        return replace(
            self,
            depths=self.depths[stages],
            widths=self.widths[: len(self.depths)][stages],
            strides=self.strides[: len(self.depths)][stages],
            stem=self.stem if chosen[0] == 0 else nothing,
            finish=self.finish if chosen[-1] == len(self.depths) - 1 else nothing,
            first=self.first + chosen[0],
        )

    def stage(self, number: int) -> "Staged":
        """One stage, by its number in the full network (from 1), without stem and finish."""
        index = number - self.first
        if not 0 <= index < len(self.depths):
            last = self.first + len(self.depths) - 1
            raise ValueError(f"number must be from {self.first} to {last}, got {number}")
        return replace(self[index : index + 1], stem=nothing, finish=nothing)

    def with_unit(self, **changes) -> "Staged":
        """A copy with changed fields of its unit.

        Raises:
            ValueError: the unit is a function.
        """
        if inspect.isfunction(self.unit):
            rule = "is a function of (stage, index): use replace(row, unit=...) with another function"
            raise ValueError(f"the unit {self.unit.__name__} {rule}")
        return replace(self, unit=replace(self.unit, **changes))
