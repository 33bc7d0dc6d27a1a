"""Which choices are left: new, possible and within the limits; and what each would train and cost."""

import random
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from keras_cnns.dimensions import dimensions
from keras_cnns.spaces import Choice, LogUniform
from training.errors import UsageError
from training.search import trials as folders
from training.search.config import SearchConfig
from training.search.cost import CostModel
from training.search.space import Candidate
from training.search.trials import Trial

TRIES = 300
PATIENCE = 60.0  # seconds that a search looks for anything allowed before it begins
MOST_LISTED = 20_000  # a larger space is drawn from, not listed
OWN_PICKS = "tuner/"  # Hyperband's bookkeeping among a trial's values


class CandidateSampler:
    """Which choices are left, and what each of them would train and cost.

    Args:
        search: space, limits, seed.
        sizes: counts networks.
        past: the trials so far.
    """

    def __init__(self, search: SearchConfig, sizes: CostModel, past: list[Trial] = ()):
        self.search, self.sizes = search, sizes
        self.known: dict[tuple, tuple[Candidate, dict] | str] = {}
        self.tried = {t.candidate for t in past}  # not by choice: two may mean the same (the reduction of no gate)
        self.listed: list[dict] | None = None
        for trial in past:
            if "latency_ms" in trial.cost:
                sizes.timed[trial.candidate.architecture] = trial.cost["latency_ms"]

    def judged(self, picks: dict) -> tuple[Candidate, dict] | str:
        """Candidate and cost of a choice, or why it is out of the question."""
        key = tuple(picks[term.name] for term in self.search.space.terms)
        if key not in self.known:
            self.known[key] = self._judge(picks)
        return self.known[key]

    def _judge(self, picks: dict):
        try:
            candidate, cost = self.weighed(picks)
        except ValueError as error:
            return f"cannot be built: {error}"
        return self.search.limits.exceeded(cost) or (candidate, cost)

    def weighed(self, picks: dict) -> tuple[Candidate, dict]:
        """Candidate and cost of a choice, allowed or not; the clock is asked where counting has not ruled it out.

        Raises:
            ValueError: it cannot be built, or is no choice of this space.
        """
        search = self.search
        candidate = search.space.candidate(search.picked(picks), self.sizes)
        size = self.sizes(candidate.architecture)
        cost = {"params": size.params, "macs": size.macs}
        timed = search.limits.latency_ms is not None or search.objective.cost == "latency_ms"
        if timed and not search.limits.exceeded(cost):
            cost["latency_ms"] = self.sizes.latency_ms(candidate.architecture)
        return candidate, cost

    def new(self, picks: dict) -> bool:
        """Whether a choice is allowed and not tried yet."""
        found = self.judged(picks)
        return not isinstance(found, str) and found[0] not in self.tried

    def mark(self, picks: dict) -> None:
        """Remembers that this choice is being tried."""
        found = self.judged(picks)
        if not isinstance(found, str):
            self.tried.add(found[0])

    def draw(self) -> dict | None:
        """A choice by chance that is new and allowed; None if none is left, or was found in so many tries."""
        if self._list():
            return next((dict(picks) for picks in self.listed if self.new(picks)), None)
        rng = random.Random(f"{self.search.seed} {len(self.tried)}")
        # From everywhere, then ever nearer to the smallest values: tight limits leave little else.
        draws = (self._one(rng, min(1.0, 2 - i / TRIES)) for i in range(1, 2 * TRIES + 1))
        return next((picks for picks in draws if self.new(picks)), None)

    def _one(self, rng: random.Random, reach: float) -> dict:
        """A choice by chance, from so much of what each term may be, small values first."""
        return {t.name: _drawn(t.domain, rng, reach) for t in self.search.space.terms}

    def near(self, picks: dict) -> dict | None:
        """The choice itself if it is new and allowed, else the nearest that is; in a large space one by chance."""
        picks = {t.name: picks.get(t.name, (every(t.domain) or (0,))[0]) for t in self.search.space.terms}
        if self.new(picks):
            return picks
        if not self._list():
            return self.draw()
        spans = {t.name: max(1, len(every(t.domain)) - 1) for t in self.search.space.terms}
        far = sorted(self.listed, key=lambda other: sum(abs(other[n] - picks[n]) / spans[n] for n in spans))
        return next((dict(other) for other in far if self.new(other)), None)

    def _list(self) -> bool:
        """Whether the space is small enough to be listed, in an order that chance decided once."""
        terms, size = self.search.space.terms, self.search.space.size
        if size is None or size > MOST_LISTED:
            return False
        if self.listed is None:
            grid = product(*(every(term.domain) for term in terms))
            self.listed = [dict(zip((t.name for t in terms), one, strict=True)) for one in grid]
            random.Random(self.search.seed).shuffle(self.listed)
        return True

    def first(self) -> None:
        """Looks for anything that is allowed, small values first, for a bounded time.

        Raises:
            Refusal: nothing is allowed, or nothing has been found.
        """
        until, rng = time.monotonic() + PATIENCE, random.Random(self.search.seed)
        tries = self._smallest_first() if self._list() else (self._one(rng, i / TRIES) for i in range(TRIES))
        for picks in tries:
            if not isinstance(self.judged(picks), str):
                return
            if time.monotonic() > until:
                break
        count = len(self.known)
        none = "no candidate of this space is allowed" if count == self.search.space.size else "found none allowed"
        how = f"all {count}" if count == self.search.space.size else f"{count} different tries"
        raise UsageError(f"{none} ({how}); the nearest: {min(self.known.values(), key=_amount)}")

    def _smallest_first(self) -> list[dict]:
        """The listed choices by the sum of their terms' places among small values: a guess at what is cheap."""
        places = {}
        for term in self.search.space.terms:
            ordered = small_first(term.domain)
            places[term.name] = {pick: place / len(ordered) for place, pick in enumerate(ordered)}
        return sorted(self.listed, key=lambda picks: sum(places[name][pick] for name, pick in picks.items()))


def _amount(reason: str) -> float:
    """How much a refused candidate costs; one that cannot be built is the last to be named."""
    try:
        return float(reason.split()[0].replace(",", ""))
    except ValueError:
        return float("inf")


def every(domain) -> range | None:
    """The numbers that stand for a domain's values; None where there are too many."""
    return range(len(domain.options)) if isinstance(domain, Choice) else domain.values()


def small_first(domain) -> Sequence[int] | None:
    """As `every`, numbers in rising order, however they were given."""
    found = every(domain)
    if isinstance(domain, Choice) and all(isinstance(option, int | float) for option in domain.options):
        return sorted(found, key=lambda pick: domain.options[pick])
    return found


def _drawn(domain, rng: random.Random, reach: float):
    share = rng.random()
    if isinstance(domain, LogUniform):  # a rate, a decay: it costs nothing, so all of it stays in reach
        return domain.at(share)
    ordered = small_first(domain)
    return ordered[int(share * reach * len(ordered))]


def record_trial(root: Path, proposals: CandidateSampler, number: int, picks: dict) -> None:
    """Writes `trial.json` of what was picked, whatever the limits say of it now: it has been proposed.

    Raises:
        ValueError: it is no choice of this space.
    """
    candidate, cost = proposals.weighed(picks)
    chosen = proposals.search.picked(picks)
    if proposals.search.space.constant != "none":
        chosen["width"] = dimensions(candidate.architecture)["width"].now
    folders.write(root, number, picks, candidate, chosen, cost, picks.get("tuner/epochs"))
