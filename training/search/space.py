"""A search space: which dimensions, which values of each, and how a choice of them becomes a run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from keras_cnns.architecture import Architecture
from keras_cnns.dimensions import dimensions
from keras_cnns.spaces import Choice, Int, LogUniform, filled, openings
from keras_cnns.values import Value
from training.data.augment import Affine, PadCrop
from training.data.policies import RandAugment
from training.recipes.recipe import Recipe
from training.search.cost import CostModel

Domain = Choice | Int | LogUniform
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

    def candidate(self, chosen: Mapping[str, Any], sizes: CostModel) -> Candidate:
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


def fitted(architecture: Architecture, what: str, base: Architecture, sizes: CostModel) -> Architecture:
    """The architecture in the width in which it costs most nearly what `base` does.

    Raises:
        ValueError: it has no width, or none comes within a tenth.
    """
    put = dimensions(architecture)["width"].put

    @cache
    def cost(width: int) -> int:
        return getattr(sizes(put(architecture, width)), what)

    target, width, seen = getattr(sizes(base), what), dimensions(base)["width"].now, set()
    while width not in seen:  # costs go nearly with the square of the width
        seen.add(width)
        width = max(1, round(width * math.sqrt(target / cost(width))))
    near = range(max(1, width - 1), width + 2)
    while (best := min(near, key=lambda w: abs(cost(w) - target))) != width:
        width, near = best, range(max(1, best - 1), best + 2)
    if abs(cost(best) - target) > target / 10:
        raise ValueError(f"no width comes within a tenth of the base's {target:,} {what}; {cost(best):,} came")
    return put(architecture, best)
