"""Samples candidates that are untried, buildable and within the constraints."""

import random
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from keras_cnns import values
from keras_cnns.dimensions import dimensions
from keras_cnns.spaces import Choice, LogUniform, label
from training.errors import UsageError
from training.report.folder import write_json
from training.search import trials as folders
from training.search.config import SearchConfig
from training.search.cost import CostModel
from training.search.space import Candidate
from training.search.trials import Trial

TRIES = 300
PATIENCE = 60.0  # seconds to look for an allowed candidate before a search begins
MAX_LISTED = 20_000  # a larger space is sampled, not listed


class CandidateSampler:
    """Checks and samples candidates. Picks are the numbers of an oracle by the names of the terms."""

    def __init__(self, search: SearchConfig, costs: CostModel, past: list[Trial] = ()):
        self.search, self.costs = search, costs
        self.checked: dict[tuple, tuple[Candidate, dict] | str] = {}
        self.tried = {t.candidate for t in past}  # not the picks: two may mean the same (a reduction without gate)
        self.listed: list[dict] | None = None
        for trial in past:
            if "latency_ms" in trial.cost:
                costs.timed[trial.candidate.architecture] = trial.cost["latency_ms"]

    def check(self, picks: dict) -> tuple[Candidate, dict] | str:
        """Candidate and cost, or the reason why it is not allowed."""
        key = tuple(picks[term.name] for term in self.search.space.terms)
        if key not in self.checked:
            try:
                candidate, cost = self.cost_of(picks)
                self.checked[key] = self.search.limits.exceeded(cost) or (candidate, cost)
            except ValueError as error:
                self.checked[key] = f"cannot be built: {error}"
        return self.checked[key]

    def cost_of(self, picks: dict) -> tuple[Candidate, dict]:
        """Candidate and cost, allowed or not. The latency is measured if the counts are within the constraints.

        Raises:
            ValueError: it cannot be built, or the picks do not fit this space.
        """
        search = self.search
        candidate = search.space.candidate(search.picked(picks), self.costs)
        cost = {**vars(self.costs(candidate.architecture))}
        timed = search.limits.latency_ms is not None or search.objective.cost == "latency_ms"
        if timed and not search.limits.exceeded(cost):
            cost["latency_ms"] = self.costs.latency_ms(candidate.architecture)
        return candidate, cost

    def untried(self, picks: dict) -> bool:
        """Whether a candidate is allowed and not tried yet."""
        found = self.check(picks)
        return not isinstance(found, str) and found[0] not in self.tried

    def sample(self) -> dict | None:
        """Random picks, allowed and untried; None if none is left, or none was found in 600 tries."""
        if self._list():
            return next((dict(picks) for picks in self.listed if self.untried(picks)), None)
        rng = random.Random(f"{self.search.seed} {len(self.tried)}")
        # From the whole space, then from ever smaller values: tight constraints leave little else.
        draws = (self._draw(rng, min(1.0, 2 - i / TRIES)) for i in range(1, 2 * TRIES + 1))
        return next((picks for picks in draws if self.untried(picks)), None)

    def _draw(self, rng: random.Random, reach: float) -> dict:
        """Random picks from the smallest values of each term, up to the fraction `reach` of them."""
        picks = {}
        for term in self.search.space.terms:
            fraction = rng.random()
            if isinstance(term.domain, LogUniform):  # a rate, a decay: it costs nothing, so `reach` does not apply
                picks[term.name] = term.domain.at(fraction)
            else:
                ordered = small_first(term.domain)
                picks[term.name] = ordered[int(fraction * reach * len(ordered))]
        return picks

    def nearest_untried(self, picks: dict) -> dict | None:
        """The picks if they are allowed and untried, else the nearest that are; in a large space random ones."""
        picks = {t.name: picks.get(t.name, (all_picks(t.domain) or (0,))[0]) for t in self.search.space.terms}
        if self.untried(picks):
            return picks
        if not self._list():
            return self.sample()
        spans = {t.name: max(1, len(all_picks(t.domain)) - 1) for t in self.search.space.terms}
        far = sorted(self.listed, key=lambda other: sum(abs(other[n] - picks[n]) / spans[n] for n in spans))
        return next((dict(other) for other in far if self.untried(other)), None)

    def _list(self) -> bool:
        """Whether the space is small enough to be listed; then lists it once, in random order."""
        terms, size = self.search.space.terms, self.search.space.size
        if size is None or size > MAX_LISTED:
            return False
        if self.listed is None:
            grid = product(*(all_picks(term.domain) for term in terms))
            self.listed = [dict(zip((t.name for t in terms), one, strict=True)) for one in grid]
            random.Random(self.search.seed).shuffle(self.listed)
        return True

    def find_allowed(self) -> None:
        """Looks for an allowed candidate, small values first, for a limited time.

        Raises:
            UsageError: nothing is allowed, or nothing has been found.
        """
        until, rng = time.monotonic() + PATIENCE, random.Random(self.search.seed)
        tries = self._smallest_first() if self._list() else (self._draw(rng, i / TRIES) for i in range(TRIES))
        for picks in tries:
            if not isinstance(self.check(picks), str):
                return
            if time.monotonic() > until:
                break
        count = len(self.checked)
        none, how = "found none allowed", f"{count} different tries"
        if count == self.search.space.size:
            none, how = "no candidate of this space is allowed", f"all {count}"
        raise UsageError(f"{none} ({how}); the nearest: {min(self.checked.values(), key=_amount)}")

    def _smallest_first(self) -> list[dict]:
        """The listed picks by the sum of their ranks among small values: probably the cheapest first."""
        ranks = {}
        for term in self.search.space.terms:
            ordered = small_first(term.domain)
            ranks[term.name] = {pick: rank / len(ordered) for rank, pick in enumerate(ordered)}
        return sorted(self.listed, key=lambda picks: sum(ranks[name][pick] for name, pick in picks.items()))


def _amount(reason: str) -> float:
    """The cost in the reason against a candidate; infinite for one that cannot be built."""
    try:
        return float(reason.split()[0].replace(",", ""))
    except ValueError:
        return float("inf")


def all_picks(domain) -> range | None:
    """The picks of a domain; None where there are too many."""
    return range(len(domain.options)) if isinstance(domain, Choice) else domain.values()


def small_first(domain) -> Sequence[int] | None:
    """As `all_picks`, with numbers in rising order."""
    found = all_picks(domain)
    if isinstance(domain, Choice) and all(isinstance(option, int | float) for option in domain.options):
        return sorted(found, key=lambda pick: domain.options[pick])
    return found


def record_trial(root: Path, sampler: CandidateSampler, number: int, picks: dict) -> None:
    """Makes the folder of a proposed trial, also if the constraints exclude it now; it is tried from here on.

    A folder without `trial.json`, which is written whole or not at all, is no trial.

    Raises:
        ValueError: the picks do not fit this space.
    """
    candidate, cost = sampler.cost_of(picks)
    chosen = sampler.search.picked(picks)
    if sampler.search.space.constant != "none":
        chosen["width"] = dimensions(candidate.architecture)["width"].now
    sampler.tried.add(candidate)
    folder = folders.place(root, number)
    folder.mkdir(parents=True, exist_ok=True)
    data = {"picks": picks, "chosen": {name: label(value) for name, value in chosen.items()}, "cost": cost}
    data |= {"epochs": picks.get("tuner/epochs"), "candidate": values.encode(candidate)}
    write_json(folder / "trial.json", data)
