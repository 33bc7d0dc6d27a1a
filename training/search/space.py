"""A search space: its dimensions with their values, and the candidate for chosen values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from keras_cnns.architecture import Architecture
from keras_cnns.dimensions import dimensions
from keras_cnns.spaces import Choice, Int, LogUniform, filled, openings
from keras_cnns.values import Value, field_path
from training.data.augment import Affine, PadCrop
from training.data.policies import RandAugment
from training.recipes.recipe import Recipe
from training.search.cost import CostModel

Domain = Choice | Int | LogUniform
CHANCE = ("seed", "split")  # dimensions that are repetitions, not choices
ELSEWHERE = ("recipe.", *CHANCE)  # dimensions that are not of the network


@dataclass(frozen=True)
class Term(Value):
    """One dimension of a space: its name, as in `--space`, and its values."""

    name: str
    domain: Any

    def check(self):
        if not isinstance(self.domain, Domain):
            raise ValueError(f"a term's domain must be a Choice, an Int or a LogUniform, got {self.domain!r}")


@dataclass(frozen=True)
class Candidate(Value):
    """What a trial trains: network, recipe, data and seed of an ordinary run."""

    architecture: Architecture
    recipe: Recipe
    data: str
    seed: int


@dataclass(frozen=True)
class Space(Value):
    """A base with open fields, and dimensions.

    Attributes:
        base: its architecture and recipe have the open fields of terms such as "recipe.decay", "row.unit.inner".
        terms: all dimensions, in the order of the command line.
        constant: the cost that `width` is fitted to, so that a candidate costs as much as the base.
    """

    base: Candidate
    terms: tuple[Term, ...]
    constant: Literal["none", "macs", "params"] = "none"

    @property
    def size(self) -> int | None:
        """Number of candidates; None if it is infinite."""
        values = [term.domain.values() for term in self.terms]
        return None if None in values else math.prod(map(len, values))

    @property
    def names(self) -> list[str]:
        """The names of a trial's chosen values: the terms, and the width where it follows from them."""
        return [*(term.name for term in self.terms), *(["width"] if self.constant != "none" else [])]

    def reference(self) -> Architecture:
        """The network whose cost all candidates have: the base, with the terms of a single value."""
        first = {path: opening.values()[0] for path, opening in openings(self.base.architecture).items()}
        architecture = filled(self.base.architecture, first)
        for term in self.terms:
            values, known = term.domain.values(), dimensions(architecture)
            if values and len(values) == 1 and term.name in known:
                architecture = known[term.name].put(architecture, values[0])
        return architecture

    def candidate(self, chosen: Mapping[str, Any], costs: CostModel) -> Candidate:
        """The candidate with the chosen values, by the names of the terms.

        Raises:
            ValueError: the values do not fit together.
        """
        fields = {name.partition(".")[2]: value for name, value in chosen.items() if name.startswith("recipe.")}
        rows = {name: value for name, value in chosen.items() if name.startswith("row.")}
        strength = fields.pop("strength", None)
        fields = {field_path(self.base.recipe, path): value for path, value in fields.items()}
        architecture, recipe = filled(self.base.architecture, rows), filled(self.base.recipe, fields)
        if strength is not None:
            recipe = strengthened(recipe, strength)
        for term in self.terms:
            if term.name in (known := dimensions(architecture)):
                architecture = known[term.name].put(architecture, chosen[term.name])
        if self.constant != "none":
            architecture = fitted(architecture, self.constant, self.reference(), costs)
        if architecture != self.base.architecture:
            what = ", ".join(f"{t.name}={chosen[t.name]}" for t in self.terms if not t.name.startswith(ELSEWHERE))
            citation = f"{architecture.citation.rstrip('.')}; searched: {what}."
            architecture = replace(architecture, name=f"{architecture.name}_searched", citation=citation)
        data = f"{self.base.data}:{chosen['split']}" if chosen.get("split") else self.base.data
        return Candidate(architecture, recipe, data, chosen.get("seed", self.base.seed))


def strengthened(recipe: Recipe, by: float) -> Recipe:
    """The recipe with the strength of the augmentation times `by`; 0 leaves it out."""
    parts = (_stronger(part, by) for part in recipe.augment)
    return replace(recipe, augment=tuple(part for part in parts if part is not None))


def _stronger(part, by: float):
    if isinstance(part, Affine):
        limited = {"shift": min(1.0, part.shift * by), "zoom": min(0.9, part.zoom * by)}
        return replace(part, rotate=min(180.0, part.rotate * by), **limited) if by else None
    if isinstance(part, PadCrop):
        return replace(part, pad=round(part.pad * by)) if round(part.pad * by) else None
    if isinstance(part, RandAugment):
        return replace(part, magnitude=min(10.0, part.magnitude * by)) if by else None
    return part


def fitted(architecture: Architecture, what: str, base: Architecture, costs: CostModel) -> Architecture:
    """The architecture with the width whose cost is nearest to that of `base`.

    Raises:
        ValueError: no width has a cost within a tenth of it.
    """
    put = dimensions(architecture)["width"].put

    def cost(width: int) -> int:
        return getattr(costs(put(architecture, width)), what)

    target, width, seen = getattr(costs(base), what), dimensions(base)["width"].now, set()
    while width not in seen:  # the cost grows nearly with the square of the width
        seen.add(width)
        width = max(1, round(width * math.sqrt(target / cost(width))))
    near = range(max(1, width - 1), width + 2)
    while (best := min(near, key=lambda w: abs(cost(w) - target))) != width:
        width, near = best, range(max(1, best - 1), best + 2)
    if abs(cost(best) - target) > target / 10:
        raise ValueError(f"{what} must be within a tenth of the base's {target:,}, got {cost(best):,} at best")
    return put(architecture, best)
