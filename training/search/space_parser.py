"""Parses `--space`: "width,cardinality=1/2/4,recipe.rate=0.01..0.2", or the names of ready spaces."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Annotated, Any

from keras_cnns import zoo
from keras_cnns.architecture import Architecture
from keras_cnns.dimensions import Dimension, dimensions
from keras_cnns.errors import unknown
from keras_cnns.spaces import Choice, Int, LogUniform, opened
from keras_cnns.values import Range, Value, describe, field_path, set_field
from training.data.mix import CutMix, Mixup
from training.recipes.optimizers import Adam, Lamb
from training.recipes.recipe import PARTS, Recipe
from training.search.space import Candidate, Domain, Space, Term

# Ready spaces: terms, the cost that stays constant, and a description.
READY = {
    "resnext": ("cardinality=1/2/4/8/16/32", "macs", "cardinality against width (Xie et al. 2016, table 2)"),
    "wrn": ("depth,width,recipe.dropout", "none", "Wide ResNet: depth, width, dropout"),
    "se": ("gate=none/se,reduction", "none", "with and without SE, and its reduction (Hu et al. 2017, table 10)"),
    "sk": ("branches,cardinality", "none", "SKNet: kernels and groups (Li et al. 2019, tables 6 and 7)"),
    "resnest": ("radix,cardinality", "none", "ResNeSt: radix and cardinality (Zhang et al. 2020, table 2)"),
    "orders": ("order", "none", "norm, ReLU, addition (He et al. 2016, figure 4)"),
    "training": ("recipe.optimizer,recipe.strength", "none", "optimizer with its rate, augmentation strength"),
}
ALIASES = {"recipe.rate": "recipe.optimizer.rate"}
USUAL = {  # fields of a recipe that need no values on the command line
    "decay": LogUniform(1e-5, 1e-2),
    "dropout": Choice((0.0, 0.1, 0.2, 0.3, 0.4)),
    "smoothing": Choice((0.0, 0.05, 0.1, 0.2)),
    "batch_size": Choice((32, 64, 128, 256)),
    "ema": Choice((0.0, 0.9, 0.99)),
    "initializer": Choice(("published", "centred", "identity")),
    "mix": Choice((None, Mixup(0.2), CutMix(1.0))),
}
NUMBERS = {  # that are not a field of a value: the rule, the usual ones
    "seed": (Annotated[int, Range(0, 2**31 - 1)], Choice((0, 1, 2, 3, 4))),
    "split": (Annotated[int, Range(0, 999_999)], Choice((0, 1, 2, 3, 4))),
    "recipe.strength": (Annotated[float, Range(0, 100)], Choice((0.0, 0.5, 1.0, 1.5, 2.0))),
}


def parse(text: str, base: Candidate, constant: str = "none") -> Space:
    """The space of `--space`.

    Raises:
        ValueError: an unknown dimension, values that do not fit it, or two terms of the same field.
    """
    words = []
    for word in filter(None, (w.strip() for w in text.split(","))):
        if word in READY:
            if READY[word][1] != "none":
                constant = READY[word][1]
            words += READY[word][0].split(",")
        else:
            words.append(word)
    if not words:
        raise ValueError("--space must have at least one dimension, as --space width,depth")
    space, probe = Space(base, (), constant), base.architecture
    for word in words:
        name, equals, values = word.partition("=")
        name = ALIASES.get(name, name)
        for other in (term.name for term in space.terms):
            if f"{other}.".startswith(f"{name}.") or f"{name}.".startswith(f"{other}."):
                raise ValueError(f"{name} and {other} set the same field: leave one out of --space")
        space, probe = _with(space, probe, name, values if equals else None)
    if constant != "none":
        if "width" not in dimensions(base.architecture):
            raise ValueError(f"{base.architecture.name} has no width to fit to constant {constant}")
        if any(t.name == "width" for t in space.terms):
            raise ValueError(f"at constant {constant} the width follows from the rest: leave it out of --space")
    return space


def _with(space: Space, probe: Architecture, name: str, values: str | None) -> tuple[Space, Architecture]:
    """The space with one more term, and the architecture at its last value, which may have more dimensions."""
    base, head = space.base, name.partition(".")[0]
    if name in NUMBERS:
        if name == "split" and base.data != "digits":
            raise ValueError(f"split is for --data digits, got --data {base.data}")
        domain = numbers(name, values) if values else NUMBERS[name][1]
    elif head == "recipe" and "." in name:
        field = name.partition(".")[2]
        domain = by_path(base.recipe, field, values, PARTS) if values else _usual(base.recipe, field)
        base = replace(base, recipe=opened(base.recipe, field, domain))
    elif head == "row" and "." in name:
        if values is None:
            raise ValueError(f"{name} needs values, as {name}=1/2/4")
        domain = by_path(base.architecture, name, values, zoo.PARTS)
        base = replace(base, architecture=opened(base.architecture, name, domain))
    else:
        known = dimensions(probe)
        if name not in known:
            listed = {**known, "recipe.FIELD": 0, "row.FIELD": 0, "seed": 0, "split": 0, **READY}
            raise ValueError(unknown(f"dimension of {base.architecture.name}", name, listed))
        domain = named(known[name], values) if values else known[name].domain
        probe = known[name].put(probe, list(domain.values())[-1])
    return replace(space, base=base, terms=(*space.terms, Term(name, domain))), probe


def _usual(recipe: Recipe, field: str) -> Domain:
    rate, field = recipe.optimizer.rate, Recipe.RENAMED.get(field, field)
    if field == "optimizer.rate":
        return LogUniform(rate / 10, rate * 3)
    if field == "optimizer":
        options = (replace(recipe.optimizer, rate=float(f"{rate * by:.3g}")) for by in (0.3, 1, 3))
        return Choice(tuple(dict.fromkeys((*options, Adam(1e-3), Adam(3e-3), Lamb(5e-3)))))
    if field not in USUAL:
        known = [f"recipe.{f}" for f in (*USUAL, "optimizer", "rate", "strength")]
        raise ValueError(f"recipe.{field} needs values, as recipe.{field}=1/2/4; without: {', '.join(known)}")
    return USUAL[field]


RANGE = re.compile(r"(.+?)\.\.(.+)")
MAX_NUMBER = 1e12


def by_path(value: Value, path: str, text: str, parts: Mapping) -> Domain:
    """The domain of a field, with values as in `--set`."""
    path = field_path(value, path)
    return _domain(path, text, lambda word: attrgetter(path)(set_field(value, path, word.strip(), parts)))


def _domain(name: str, text: str, read: Callable[[str], Any]) -> Domain:
    """The domain of "1/2/4" or "low..high"."""
    between = RANGE.fullmatch(text)
    if not between:
        return Choice(tuple(dict.fromkeys(map(read, text.split("/")))))
    low, high = map(read, between.groups())
    if isinstance(low, int) and isinstance(high, int):
        return Int(low, high)
    if isinstance(low, int | float) and isinstance(high, int | float):
        return LogUniform(low, high)
    raise ValueError(f"a range must be of numbers, got {name}={low}..{high}")


def numbers(name: str, text: str) -> Domain:
    """A domain of numbers."""
    try:
        domain = _domain(name, text, _number)
        if name in NUMBERS and (fault := domain.fault(NUMBERS[name][0])):
            raise ValueError(f"must be {describe(NUMBERS[name][0])}, {fault}")
        return domain
    except ValueError as error:
        message = f"{name} must be numbers, as {name}=1/2/4 or {name}=1..4, got {text!r} ({error})"
        raise ValueError(message) from None


def named(dimension: Dimension, text: str) -> Domain:
    """The domain of a named dimension: numbers, or some of its words."""
    name, usual = dimension.name, list(dimension.domain.values())
    if not isinstance(usual[0], str):
        domain = numbers(name, text)
        if domain.values() is None or min(domain.values()) <= 0:
            raise ValueError(f"{name} must be numbers above 0, as {name}=1/2/4, got {text!r}")
        return domain
    words = tuple(dict.fromkeys(text.split("/")))
    if others := [word for word in words if word not in usual]:
        raise ValueError(unknown(f"value of {name}", others[0], usual))
    return Choice(words)


def _number(text: str) -> int | float:
    try:
        value = int(text)
    except ValueError:
        value = float(text)
    if not abs(value) <= MAX_NUMBER:  # nan is not
        raise ValueError(f"must be from -{MAX_NUMBER:g} to {MAX_NUMBER:g}, got {text}")
    return value
