"""A search as a value: `search.json` is this, and a search is taken up again from it and its trials' folders."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from keras_cnns import spaces, values
from keras_cnns.spaces import Choice, Int
from keras_cnns.values import Count, Range, Value, by_name
from training.classification import config as configs
from training.report.folder import write_text
from training.search.cost import Constraints
from training.search.objective import Objective
from training.search.space import Candidate, Space, Term

NAME = "search.json"


@dataclass(frozen=True)
class SearchConfig(Value):
    """What a search does; how many trials, workers and kept weights may differ from start to start.

    Attributes:
        space: the base and the dimensions.
        tuner: KerasTuner's oracle.
        objective, limits: what is wanted, and what it may cost.
        seed: of the proposals; the trials' own stands in the base.
        classes, image_size, channels: of what the networks are fed.
        precision: of all trials.
    """

    space: Space
    tuner: Literal["random", "bayesian", "hyperband"]
    objective: Objective
    limits: Constraints
    seed: Annotated[int, Range(0, 2**31 - 1)]
    classes: Count
    image_size: Count
    channels: Count
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    version: str = ""

    ALIASES: ClassVar[tuple[str, ...]] = ("Search",)

    def picked(self, picks: dict[str, float]) -> dict[str, Any]:
        """The values that the oracle's numbers stand for: of a Choice its index, else the number itself.

        Raises:
            ValueError: they are no choice of this space.
        """
        try:
            return {term.name: _picked(term, picks[term.name]) for term in self.space.terms}
        except (KeyError, IndexError, TypeError, ValueError):
            raise ValueError(
                f"{picks} is no choice of this space, which has {', '.join(self.space.names)}"
            ) from None


def _picked(term: Term, pick: float):
    if isinstance(term.domain, Choice):
        return term.domain.options[int(pick)]
    return (
        int(pick)
        if isinstance(term.domain, Int)
        else min(term.domain.high, max(term.domain.low, float(f"{pick:.4g}")))
    )


PARTS = {
    **configs.PARTS,
    **spaces.PARTS,
    **by_name((Candidate, Constraints, Objective, SearchConfig, Space, Term)),
}


def write(search: SearchConfig, folder: Path) -> None:
    """Writes `search.json`."""
    write_text(folder / NAME, values.to_json(search) + "\n")


def read(folder: Path) -> SearchConfig | None:
    """The search of a folder, or None.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        found = values.from_json(path.read_text(encoding="utf-8"), PARTS)
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from None
    if not isinstance(found, SearchConfig):
        raise ValueError(f"{path} holds a {type(found).__name__}, not a Search")
    return found
