"""Frozen dataclasses with checked fields, changed by `replace`, written to JSON and read back.

Parts, rows, architectures and recipes are `Value`s. A field's annotation is its rule: the type, and with
`Annotated[int, Range(1, 9)]` the range. JSON names a function in a field by its `__name__`. Reading uses an
allow-list of names, so a JSON file can build only these values. `Value.ALIASES` and `Value.RENAMED` keep the old
name of a renamed class or field readable.
"""

import dataclasses
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Union

from keras_cnns.errors import unknown


@dataclass(frozen=True)
class Range:
    """Inclusive bounds of a number, for `Annotated`."""

    low: float
    high: float

    def __str__(self):
        return f"from {self.low:g} to {self.high:g}"


Count = Annotated[int, Range(1, 65_536)]
Fraction = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(1e-12, 1e12)]

LARGEST = sys.float_info.max  # an int may be larger, but not converted to float
MAX_DEPTH = 32
MAX_ITEMS = 20_000


class Open:
    """Base of placeholders that a search fills (`keras_cnns.spaces`); allowed in any field or tuple."""

    def fault(self, hint: Any) -> str | None:
        """Why one of its possible values does not fit the annotation, or None."""
        raise NotImplementedError


class Value:
    """Base of a frozen dataclass whose fields are checked against their annotations.

    Raises:
        ValueError: a field has the wrong type or range; the message has the field, its rule and the value.
    """

    ALIASES: ClassVar[tuple[str, ...]] = ()  # old names of the class, read from JSON, never written
    RENAMED: ClassVar[Mapping[str, str]] = {}  # old name of a field -> its name; read, never written

    def __post_init__(self):
        for name, hint in hints(type(self)).items():
            fault = mismatch(getattr(self, name), hint)
            if fault:
                raise ValueError(f"{type(self).__name__}.{name} must be {describe(hint)}, {fault}")
        if not any(is_open(getattr(self, name)) for name in hints(type(self))):
            self.check()

    def check(self) -> None:
        """Raises ValueError if fields contradict each other. Not called while a field is open."""


def is_open(value: Any) -> bool:
    """True if the value, or one of its items, is a placeholder for a search."""
    return any(map(is_open, value)) if isinstance(value, tuple) else isinstance(value, Open)


@cache
def hints(kind: type) -> Mapping[str, Any]:
    """Field name -> annotation of a dataclass, in field order."""
    resolved = typing.get_type_hints(kind, include_extras=True)
    return {f.name: resolved[f.name] for f in dataclasses.fields(kind)}


def field_name(kind: type, name: str) -> str:
    """The name of a field of `kind`, from that name or from an old one.

    Raises:
        ValueError: no such field.
    """
    known = hints(kind)
    current = name if name in known else kind.RENAMED.get(name)
    if current is None:
        raise ValueError(unknown(f"field of {kind.__name__}", name, known))
    return current


def field_path(value: Any, path: str) -> str:
    """The path of a field with the names of today, from one with those or with old names.

    Raises:
        ValueError: no such field.
    """
    head, _, rest = path.partition(".")
    if not isinstance(value, Value):
        return path
    head = field_name(type(value), head)
    return f"{head}.{field_path(getattr(value, head), rest)}" if rest else head


def describe(hint: Any) -> str:
    """An annotation in words, for error messages."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return f"{describe(args[0])} {args[1]}"
    if origin in (Union, types.UnionType):
        return " or ".join(describe(a) for a in args)
    if origin is Literal:
        return " or ".join(repr(a) for a in args)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return f"a tuple of {describe(args[0])}"
        return f"({', '.join(describe(a) for a in args)})"
    if hint is type(None):
        return "None"
    if hint is Callable or origin is Callable or hint is typing.Callable:
        return "a part (something to call)"
    return getattr(hint, "__name__", str(hint))


def mismatch(value: Any, hint: Any) -> str | None:
    """Why `value` does not fit the annotation, or None if it does."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    got = f"got {value!r}"
    if isinstance(value, Open):
        return value.fault(hint)
    if origin is Annotated:
        fault = mismatch(value, args[0])
        rule = args[1]
        if fault is None and isinstance(rule, Range) and not rule.low <= value <= rule.high:
            fault = got
        return fault
    if origin in (Union, types.UnionType):
        return None if any(mismatch(value, a) is None for a in args) else got
    if origin is Literal:
        return None if value in args else got
    if origin is tuple:
        if not isinstance(value, tuple):
            return got
        if len(args) == 2 and args[1] is Ellipsis:
            args = (args[0],) * len(value)
        if len(args) != len(value):
            return f"got {len(value)} items"
        return next((f for f in map(mismatch, value, args) if f), None)
    if hint is Any:
        return None
    if hint is Callable or origin is Callable or hint is typing.Callable:
        return None if callable(value) else got
    if hint is float:
        ok = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
        return None if ok else got
    if hint is int:
        return None if isinstance(value, int) and not isinstance(value, bool) else got
    return None if isinstance(value, hint) else got


# --- JSON -------------------------------------------------------------------------------------------------------


def encode(value: Any) -> Any:
    """A value as plain JSON data: dataclasses and functions by name, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, types.FunctionType):
        return {"function": value.__name__}
    if isinstance(value, tuple):
        return [encode(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a value must hold numbers, text, tuples, parts and module-level functions, got {value!r}")


def decode(data: Any, allowed: Mapping[str, Callable], *, depth: int = 0) -> Any:
    """The value that `encode` wrote. Builds only names in `allowed`, and checks every field.

    Raises:
        ValueError: unknown type, function or field name; wrong type or range; nested too deeply or too long.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"values nest at most {MAX_DEPTH} deep")
    if isinstance(data, list):
        if len(data) > MAX_ITEMS:
            raise ValueError(f"a list must have at most {MAX_ITEMS} items, got {len(data)}")
        return tuple(decode(d, allowed, depth=depth + 1) for d in data)
    if not isinstance(data, dict):
        return data
    if set(data) == {"function"}:
        function = allowed.get(data["function"]) if isinstance(data["function"], str) else None
        if not isinstance(function, types.FunctionType):
            raise ValueError(unknown("function", data["function"], _names(allowed, types.FunctionType)))
        return function
    kind = allowed.get(data.get("type")) if isinstance(data.get("type"), str) else None
    if not isinstance(kind, type):
        raise ValueError(unknown("type", data.get("type"), _names(allowed, type)))
    fields, given = {}, {}
    for key in sorted(data.keys() - {"type"}):
        name = field_name(kind, key)
        if name in fields:
            raise ValueError(f"{kind.__name__}.{name} is given twice, as {given[name]!r} and as {key!r}")
        fields[name], given[name] = decode(data[key], allowed, depth=depth + 1), key
    missing = [
        f.name
        for f in dataclasses.fields(kind)
        if f.name not in fields and f.default is f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{kind.__name__} needs the field {missing[0]!r}")
    return kind(**fields)


def to_json(value: Any) -> str:
    """A value as JSON text."""
    return json.dumps(encode(value), indent=2)


def from_json(text: str, allowed: Mapping[str, Callable]) -> Any:
    """The value that `to_json` wrote, through an allow-list of types and functions."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # also: a number of 10,000 digits, 10,000 open brackets
        raise ValueError(f"not JSON: {error}") from None
    return decode(data, allowed)


def by_name(parts: Iterable[Callable]) -> dict[str, Callable]:
    """An allow-list: name -> type or function, followed by the old names of classes (`Value.ALIASES`)."""
    parts = tuple(parts)
    named = {p.__name__: p for p in parts}
    return named | {old: p for p in parts for old in vars(p).get("ALIASES", ()) if old not in named}


def _names(allowed: Mapping[str, Callable], kind: type) -> list[str]:
    """Current names of this kind; old names are never suggested."""
    return [name for name, part in allowed.items() if isinstance(part, kind) and name == part.__name__]


# --- setting a field by its path --------------------------------------------------------------------------------


def set_field(value: Any, path: str, text: str, allowed: Mapping[str, Callable]) -> Any:
    """A copy of `value` with the field at `path` set from text.

    `none` is None or the empty tuple; names of parts (`flip,pad_crop`) give parts with their defaults.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Speed(Value):
    ...     rate: Positive = 0.1
    >>> set_field(Speed(), "rate", "0.5", {})
    Speed(rate=0.5)
    """
    head, _, rest = path.partition(".")
    if not isinstance(value, Value):
        raise ValueError(f"{value!r} has no field {head!r}")
    head = field_name(type(value), head)
    if rest:
        return replace(value, **{head: set_field(getattr(value, head), rest, text, allowed)})
    hint = hints(type(value))[head]
    for candidate in _readings(text, allowed):
        if mismatch(candidate, hint) is None:
            return replace(value, **{head: candidate})
    raise ValueError(f"{type(value).__name__}.{path} must be {describe(hint)}, got {text!r}")


def with_settings(value: Any, settings: Iterable[str], allowed: Mapping[str, Callable]) -> Any:
    """A copy with several fields set, each from text such as "optimizer.rate=0.05".

    Raises:
        ValueError: no "=", no such field, wrong type or out of range.
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set must be field=value, as --set batch_size=2, got {setting!r}")
        value = set_field(value, path.strip(), text.strip(), allowed)
    return value


def _readings(text: str, allowed: Mapping[str, Callable]) -> Iterable[Any]:
    """Possible values of a text on the command line, the likeliest first."""
    if text.lower() == "none":
        yield from (None, ())
    if text.lower() in ("true", "false"):
        yield text.lower() == "true"
    items = [_scalar(t.strip(), allowed) for t in text.split(",")]
    if len(items) == 1:
        yield items[0]
    yield tuple(items)
    yield text


def _scalar(text: str, allowed: Mapping[str, Callable]) -> Any:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    named = {key(name): part for name, part in allowed.items() for key in (str, snake)}
    part = named.get(text)
    return part() if isinstance(part, type) else part or text


def snake(name: str) -> str:
    """`PadCrop` -> `pad_crop`, `PCANoise` -> `pca_noise`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
