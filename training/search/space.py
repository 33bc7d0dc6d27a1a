"""A search space: which dimensions, which values of each, and how a choice of them becomes a run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from keras_cnns import zoo
from keras_cnns.architecture import Architecture
from keras_cnns.dimensions import dimensions
from keras_cnns.errors import unknown
from keras_cnns.spaces import Choice, Int, LogUniform, filled, openings
from keras_cnns.values import Value, set_field
from training import recipe as recipes
from training.data.augment import Affine, PadCrop
from training.data.mix import CutMix, Mixup
from training.data.policies import RandAugment
from training.recipe import Adam, Lamb, Recipe
from training.search.sizes import Sizes

Domain = Choice | Int | LogUniform

# Ready spaces: terms, and what stays constant while they change.
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
    "average": Choice((0.0, 0.9, 0.99)),
    "start": Choice(("published", "centred", "identity")),
    "mix": Choice((None, Mixup(0.2), CutMix(1.0))),
}
STRENGTHS = Choice((0.0, 0.5, 1.0, 1.5, 2.0))
REPEATS = Choice((0, 1, 2, 3, 4))
CHANCE = ("seed", "split")  # dimensions that are repetitions, not choices
ELSEWHERE = ("recipe.", *CHANCE)  # what is no part of the network


@dataclass(frozen=True)
class Term(Value):
    """One dimension of a space: its name, as in `--space`, and what it may be."""

    name: str
    domain: Any

    def check(self):
        if not isinstance(self.domain, Domain):
            raise ValueError(f"a term's domain is a Choice, an Int or a LogUniform; {self.domain!r} came")


@dataclass(frozen=True)
class Candidate(Value):
    """What a trial trains: an ordinary run's network, recipe, data and seed."""

    architecture: Architecture
    recipe: Recipe
    data: str
    seed: int


@dataclass(frozen=True)
class Space(Value):
    """A base with open fields, the named dimensions beside them, and what stays constant.

    Attributes:
        base: its architecture and recipe hold the openings of terms such as "recipe.decay" and "row.unit.inner".
        terms: all dimensions, in the order of the command line.
        constant: the cost that `width` is fitted to, so that a candidate costs what the base does.
    """

    base: Candidate
    terms: tuple[Term, ...]
    constant: Literal["none", "macs", "params"] = "none"

    @property
    def size(self) -> int | None:
        """How many choices there are; None without number."""
        total = 1
        for term in self.terms:
            values = term.domain.values()
            if values is None:
                return None
            total *= len(values)
        return total

    @property
    def names(self) -> list[str]:
        """What a trial is told by: the terms, and the width where it follows from them."""
        return [*(term.name for term in self.terms), *(["width"] if self.constant != "none" else [])]

    def reference(self) -> Architecture:
        """What costs what all candidates shall: the base, where terms of a single value have theirs."""
        fixed = {
            t.name: t.domain.values()[0] for t in self.terms if t.domain.values() and len(t.domain.values()) == 1
        }
        first = {path: opening.values()[0] for path, opening in openings(self.base.architecture).items()}
        architecture = filled(self.base.architecture, first)
        for name, value in fixed.items():
            if name in (known := dimensions(architecture)):
                architecture = known[name].put(architecture, value)
        return architecture

    def candidate(self, chosen: Mapping[str, Any], sizes: Sizes) -> Candidate:
        """The run that a choice, by the terms' names, stands for.

        Raises:
            ValueError: what was chosen does not go together.
        """
        inner = {name.partition(".")[2]: value for name, value in chosen.items() if "." in name}
        architecture, recipe = (
            filled(self.base.architecture, dotted(chosen, "row")),
            filled(self.base.recipe, inner),
        )
        if "strength" in inner:
            recipe = strengthened(recipe, inner["strength"])
        for term in self.terms:
            if term.name in (known := dimensions(architecture)):
                architecture = known[term.name].put(architecture, chosen[term.name])
        if self.constant != "none":
            architecture = fitted(architecture, self.constant, self.reference(), sizes)
        if architecture != self.base.architecture:
            what = ", ".join(f"{t.name}={chosen[t.name]}" for t in self.terms if not t.name.startswith(ELSEWHERE))
            citation = f"{architecture.citation.rstrip('.')}; searched: {what}."
            architecture = replace(architecture, name=f"{architecture.name}_searched", citation=citation)
        data = self.base.data
        if chosen.get("split"):
            data = f"{data}:{chosen['split']}"
        return replace(
            self.base, architecture=architecture, recipe=recipe, data=data, seed=chosen.get("seed", self.base.seed)
        )


def dotted(chosen: Mapping[str, Any], head: str) -> dict[str, Any]:
    """The choices below a name, with their paths as `filled` wants them."""
    return {name: value for name, value in chosen.items() if name.startswith(f"{head}.")}


def strengthened(recipe: Recipe, by: float) -> Recipe:
    """The recipe with the augmentation so many times as strong as it was; 0 leaves it out."""
    parts = tuple(_stronger(part, by) for part in recipe.augment)
    return replace(recipe, augment=tuple(part for part in parts if part is not None))


def _stronger(part, by: float):
    if isinstance(part, Affine):
        share = {"shift": min(1.0, part.shift * by), "zoom": min(0.9, part.zoom * by)}
        return replace(part, rotate=min(180.0, part.rotate * by), **share) if by else None
    if isinstance(part, PadCrop):
        return replace(part, pad=round(part.pad * by)) if round(part.pad * by) else None
    if isinstance(part, RandAugment):
        return replace(part, magnitude=min(10.0, part.magnitude * by)) if by else None
    return part


def fitted(architecture: Architecture, what: str, base: Architecture, sizes: Sizes) -> Architecture:
    """The architecture in the width in which it costs most nearly what `base` does.

    Raises:
        ValueError: it has no width, or none comes within a tenth.
    """
    put = dimensions(architecture)["width"].put

    def cost(width: int) -> int:
        return getattr(sizes(put(architecture, width)), what)

    target = getattr(sizes(base), what)
    low, high = 1, 2
    while cost(high) < target and high < 2**14:
        low, high = high, 2 * high
    while high - low > 1:  # cost grows with width
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < target else (low, middle)
    best = min((low, high), key=lambda width: abs(cost(width) - target))
    if abs(cost(best) - target) > target / 10:
        raise ValueError(f"no width comes within a tenth of the base's {target:,} {what}; {cost(best):,} came")
    return put(architecture, best)


# --- from the command line ------------------------------------------------------------------------------------


def parse(text: str, base: Candidate, constant: str = "none") -> Space:
    """The space that `--space` means: "width,cardinality=1/2/4,recipe.rate=0.01..0.2", or ready spaces by name.

    Raises:
        ValueError: an unknown dimension, values that do not fit it, or two terms about the same.
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
        raise ValueError("--space wants at least one dimension, as --space width,depth")
    space, probe = Space(base, (), constant), base.architecture
    for word in words:
        name, equals, values = word.partition("=")
        name = ALIASES.get(name, name)
        taken = [
            t.name
            for t in space.terms
            if f"{t.name}.".startswith(f"{name}.") or f"{name}.".startswith(f"{t.name}.")
        ]
        if taken:
            raise ValueError(f"{name} and {taken[0]} set the same thing: leave one out of --space")
        space, probe = _with(space, probe, name, values if equals else None)
    if constant != "none":
        if "width" not in dimensions(base.architecture):
            raise ValueError(f"{base.architecture.name} has no width to fit to constant {constant}")
        if any(t.name == "width" for t in space.terms):
            raise ValueError(f"at constant {constant} the width follows from the rest: leave it out of --space")
    return space


def _with(space: Space, probe: Architecture, name: str, values: str | None) -> tuple[Space, Architecture]:
    """The space with one more term, and the architecture at the end of its values, where what they bring is found."""
    base, head = space.base, name.partition(".")[0]
    if head in ("recipe", "row") and "." in name:
        field = name.partition(".")[2]
        if name == "recipe.strength":
            domain = numbers(name, values) if values else STRENGTHS
        elif head == "recipe":
            domain = by_path(base.recipe, field, values, recipes.PARTS) if values else _usual(base.recipe, field)
            base = replace(base, recipe=_opened(base.recipe, field, domain))
        else:
            if values is None:
                raise ValueError(f"{name} needs values, as {name}=1/2/4")
            domain = by_path(base.architecture, name, values, zoo.PARTS)
            base = replace(base, architecture=_opened(base.architecture, name, domain))
    elif name in CHANCE:
        if name == "split" and base.data != "digits":
            raise ValueError(f"split cuts the digits anew (--data digits); --data {base.data} came")
        domain = numbers(name, values) if values else REPEATS
    else:
        known = dimensions(probe)
        if name not in known:
            listed = {**known, "recipe.FIELD": 0, "row.FIELD": 0, "seed": 0, "split": 0, **READY}
            raise ValueError(unknown(f"dimension of {base.architecture.name}", name, listed))
        domain = named(known[name], values) if values else known[name].domain
        probe = known[name].put(probe, list(domain.values())[-1])
    return replace(space, base=base, terms=(*space.terms, Term(name, domain))), probe


def _opened(value: Value, path: str, domain: Domain) -> Value:
    from keras_cnns.spaces import opened

    fault = next((p for p in openings(value) if p == path), None)
    if fault:
        raise ValueError(f"{path} is open already")
    return opened(value, path, domain)


def _usual(recipe: Recipe, field: str) -> Domain:
    rate = recipe.optimizer.rate
    if field == "optimizer.rate":
        return LogUniform(rate / 10, rate * 3)
    if field == "optimizer":
        options = tuple(replace(recipe.optimizer, rate=float(f"{rate * by:.3g}")) for by in (0.3, 1, 3))
        return Choice(tuple(dict.fromkeys((*options, Adam(1e-3), Adam(3e-3), Lamb(5e-3)))))
    if field not in USUAL:
        known = [f"recipe.{f}" for f in (*USUAL, "optimizer", "rate", "strength")]
        raise ValueError(f"recipe.{field} needs values, as recipe.{field}=1/2/4; without: {', '.join(known)}")
    return USUAL[field]


RANGE = re.compile(r"(.+?)\.\.(.+)")


def by_path(value: Value, path: str, text: str, parts: Mapping) -> Domain:
    """The domain of a field: "1/2/4" or "low..high", each read as `--set` reads it."""

    def one(word: str):
        found = set_field(value, path, word.strip(), parts)
        for step in path.split("."):
            found = getattr(found, step)
        return found

    between = RANGE.fullmatch(text)
    if between:
        return _between(path, one(between[1]), one(between[2]))
    return Choice(tuple(dict.fromkeys(one(word) for word in text.split("/"))))


def _between(name: str, low, high) -> Domain:
    if isinstance(low, int) and isinstance(high, int):
        return Int(low, high)
    if isinstance(low, int | float) and isinstance(high, int | float):
        return LogUniform(low, high)
    raise ValueError(f"a range is of numbers; {name}={low}..{high} came")


def numbers(name: str, text: str) -> Domain:
    """The domain of numbers that a text means."""
    try:
        between = RANGE.fullmatch(text)
        if between:
            return _between(name, *map(_number, between.groups()))
        return Choice(tuple(dict.fromkeys(_number(word) for word in text.split("/"))))
    except ValueError as error:
        raise ValueError(
            f"{name} wants numbers, as {name}=1/2/4 or {name}=1..4; {text!r} came ({error})"
        ) from None


def named(dimension, text: str) -> Domain:
    """The values of a named dimension: numbers, or some of the words that it knows."""
    usual = list(dimension.domain.values())
    if not isinstance(usual[0], str):
        domain = numbers(dimension.name, text)
        if domain.values() is None or min(domain.values()) <= 0:
            raise ValueError(f"{dimension.name} wants numbers above 0, as {dimension.name}=1/2/4; {text!r} came")
        return domain
    words = tuple(dict.fromkeys(text.split("/")))
    for word in words:
        if word not in usual:
            raise ValueError(unknown(f"value of {dimension.name}", word, usual))
    return Choice(words)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
