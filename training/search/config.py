"""The configuration of a search: the value in `search.json`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from keras_cnns import spaces, values
from keras_cnns.spaces import Choice, Int
from keras_cnns.values import Count, Range, Value, by_name
from training.classification import config as configs
from training.report.folder import write_text
from training.run_folder.config import read_value
from training.search.cost import Constraints
from training.search.objective import Objective
from training.search.space import Candidate, Space, Term

NAME = "search.json"


@dataclass(frozen=True)
class SearchConfig(Value):
    """What a search does. How many trials, workers and kept weights may differ each time it is started.

    `seed` is that of the oracle; the seed of the trials is in the base of the space.
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
        """The values of an oracle's numbers, which are the index of a Choice and else the value.

        Raises:
            ValueError: they do not fit this space.
        """
        try:
            return {term.name: _picked(term, picks[term.name]) for term in self.space.terms}
        except (KeyError, IndexError, TypeError, ValueError):
            names = ", ".join(self.space.names)
            raise ValueError(f"the picks must be values of this space's {names}, got {picks}") from None


def _picked(term: Term, pick: float):
    if isinstance(term.domain, Choice):
        return term.domain.options[int(pick)]
    if isinstance(term.domain, Int):
        return int(pick)
    return min(term.domain.high, max(term.domain.low, float(f"{pick:.4g}")))


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
    return read_value(path, SearchConfig, PARTS)
