"""Search spaces: a field of a value holds a `Choice`, an `Int` or a `LogUniform` until a search fills it.

>>> from dataclasses import replace
>>> from keras_cnns.models.senet import SEResNet20
>>> row = replace(SEResNet20.row, depths=Choice(((1, 1, 1), (2, 2, 2))))
>>> openings(row)
{'depths': Choice(options=((1, 1, 1), (2, 2, 2)))}
>>> filled(row, {"depths": (2, 2, 2)}).depths
(2, 2, 2)

Each option is checked at once against the rule of its field; rules across fields are checked when filled.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import FunctionType
from typing import Any

from keras_cnns.errors import unknown
from keras_cnns.values import Open, Positive, Value, by_name, field_name, mismatch


@dataclass(frozen=True)
class Choice(Value, Open):
    """One of several values: numbers, text, parts, tuples. Searches treat neighbours in this order as similar."""

    options: tuple[Any, ...]

    def check(self):
        if not self.options:
            raise ValueError("a Choice must have at least one option, got none")

    def fault(self, hint: Any) -> str | None:
        return next((fault for option in self.options if (fault := mismatch(option, hint))), None)

    def values(self) -> tuple[Any, ...]:
        """All possible values."""
        return self.options


@dataclass(frozen=True)
class Int(Value, Open):
    """An integer from `low` to `high`, both included."""

    low: int
    high: int

    def check(self):
        if self.low > self.high:
            raise ValueError(f"an Int must have low <= high, got {self.low} and {self.high}")

    def fault(self, hint: Any) -> str | None:
        return mismatch(self.low, hint) or mismatch(self.high, hint)

    def values(self) -> range:
        """All possible values."""
        return range(self.low, self.high + 1)


@dataclass(frozen=True)
class LogUniform(Value, Open):
    """A number from `low` to `high`, uniform in its logarithm: rates, decays."""

    low: Positive
    high: Positive

    def check(self):
        if self.low >= self.high:
            raise ValueError(f"a LogUniform must have low < high, got {self.low:g} and {self.high:g}")

    def fault(self, hint: Any) -> str | None:
        return mismatch(self.low, hint) or mismatch(self.high, hint)

    def values(self) -> None:
        """None, since there are infinitely many."""

    def at(self, share: float) -> float:
        """The number at a fraction of the range, rounded to the four digits that a trial's name has room for.

        >>> LogUniform(0.001, 0.1).at(0.5)
        0.01
        """
        exact = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        return min(self.high, max(self.low, float(f"{exact:.4g}")))


def openings(value: Any, path: str = "") -> dict[str, Open]:
    """The placeholders in a value by path, in order: "unit.gate", "widths.0"."""
    if isinstance(value, Open):
        return {path: value}
    if isinstance(value, Value):
        items = [(f.name, getattr(value, f.name)) for f in fields(value)]
    else:
        items = enumerate(value) if isinstance(value, tuple) else ()
    return {p: o for k, v in items for p, o in openings(v, f"{path}.{k}".lstrip(".")).items()}


def opened(value: Value, path: str, domain: Open) -> Value:
    """A copy of the value with the placeholder `domain` in the field at `path`.

    Raises:
        ValueError: no such field, or the domain does not fit it.
    """
    head, _, rest = path.partition(".")
    if not isinstance(value, Value):
        raise ValueError(unknown(f"field of {type(value).__name__}", head, ()))
    head = field_name(type(value), head)
    return replace(value, **{head: opened(getattr(value, head), rest, domain) if rest else domain})


def filled(value: Any, chosen: Mapping[str, Any], path: str = "") -> Any:
    """A copy of the value with its placeholders replaced, by path, and fully checked.

    Raises:
        ValueError: a placeholder has no value, or the fields contradict each other.
    """
    if isinstance(value, Open):
        if path not in chosen:
            raise ValueError(f"{path} is still open, got {value}")
        return chosen[path]
    if isinstance(value, tuple):
        return tuple(filled(v, chosen, f"{path}.{i}".lstrip(".")) for i, v in enumerate(value))
    if not isinstance(value, Value) or not openings(value):
        return value
    inner = {f.name: getattr(value, f.name) for f in fields(value)}
    return replace(value, **{k: filled(v, chosen, f"{path}.{k}".lstrip(".")) for k, v in inner.items()})


def label(value: Any) -> str:
    """A short text for a choice, for tables.

    >>> from keras_cnns.blocks import SqueezeExcite, no_gate
    >>> label(SqueezeExcite(reduction=4)), label(no_gate), label((3, 4.0)), label(None)
    ('SqueezeExcite(reduction=4)', 'no_gate', '(3, 4)', 'none')
    """
    if value is None:
        return "none"
    if isinstance(value, FunctionType | type):
        return value.__name__
    if isinstance(value, Value):
        changed = [(f.name, getattr(value, f.name)) for f in fields(value) if getattr(value, f.name) != f.default]
        return f"{type(value).__name__}({', '.join(f'{k}={label(v)}' for k, v in changed)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(label, value))})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


PARTS = by_name((Choice, Int, LogUniform))
