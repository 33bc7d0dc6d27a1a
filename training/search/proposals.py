"""Which choices are left: new, possible and within the limits; and what each would train and cost."""

import random
from itertools import product
from pathlib import Path

from keras_cnns.dimensions import dimensions
from keras_cnns.spaces import Choice, LogUniform
from training.door import Refusal
from training.search import trials as folders
from training.search.plan import Search
from training.search.sizes import Sizes
from training.search.space import Candidate
from training.search.trials import Trial

TRIES = 300
MOST_LISTED = 20_000  # a larger space is drawn from, not listed
OWN = "tuner/"  # Hyperband's bookkeeping among a trial's values


class Proposals:
    """Which choices are left, and what each of them would train and cost.

    Args:
        search: space, limits, seed.
        sizes: counts networks.
        past: the trials so far.
    """

    def __init__(self, search: Search, sizes: Sizes, past: list[Trial] = ()):
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
        search = self.search
        try:
            candidate = search.space.candidate(search.picked(picks), self.sizes)
            size = self.sizes(candidate.architecture)
        except ValueError as error:
            return f"cannot be built: {error}"
        cost = {"params": size.params, "macs": size.macs}
        if why := search.limits.exceeded(cost):
            return why
        if search.limits.latency_ms is not None or search.objective.cost == "latency_ms":
            cost["latency_ms"] = self.sizes.latency_ms(candidate.architecture)
        return search.limits.exceeded(cost) or (candidate, cost)

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
        terms, rng = self.search.space.terms, random.Random(f"{self.search.seed} {len(self.tried)}")
        if not self._list():
            draws = ({t.name: _drawn(t.domain, rng) for t in terms} for _ in range(TRIES))
            return next((picks for picks in draws if self.new(picks)), None)
        return next((dict(picks) for picks in self.listed if self.new(picks)), None)

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
        """Raises Refusal, after a bounded number of tries, if no candidate at all is allowed."""
        space, rng = self.search.space, random.Random(self.search.seed)
        reasons = {}
        for _ in range(TRIES):
            picks = {t.name: _drawn(t.domain, rng) for t in space.terms}
            found = self.judged(picks)
            if not isinstance(found, str):
                return
            reasons.setdefault(found, picks)
            if space.size and len(self.known) >= space.size:
                break
        text = min(reasons, key=_amount)
        tried = f"all {len(self.known)}" if space.size == len(self.known) else f"{len(self.known)} that were tried"
        raise Refusal(f"no candidate of this space is allowed ({tried}); the nearest: {text}")


def _amount(reason: str) -> float:
    """How much a refused candidate costs; one that cannot be built is the last to be named."""
    try:
        return float(reason.split()[0].replace(",", ""))
    except ValueError:
        return float("inf")


def every(domain) -> range | None:
    """The numbers that stand for a domain's values; None where there are too many."""
    return range(len(domain.options)) if isinstance(domain, Choice) else domain.values()


def _drawn(domain, rng: random.Random):
    return domain.at(rng.random()) if isinstance(domain, LogUniform) else rng.choice(every(domain))


def record_trial(root: Path, proposals: Proposals, number: int, picks: dict) -> None:
    """Writes `trial.json` of what was picked."""
    found = proposals.judged({k: v for k, v in picks.items() if not k.startswith(OWN)})
    if isinstance(found, str):
        raise ValueError(f"trial {number}: {found}")
    candidate, cost = found
    chosen = proposals.search.picked(picks)
    if proposals.search.space.constant != "none":
        chosen["width"] = dimensions(candidate.architecture)["width"].now
    folders.write(root, number, picks, candidate, chosen, cost, picks.get("tuner/epochs"))
