"""What to try next: KerasTuner's oracles, made to heed constraints, to try nothing twice and to start anywhere.

KerasTuner 1.4.8 keeps a state in files that it writes in place. Here they are never read: at every start the state
is made again from the trials' folders (`rebuilt`). One private method is overridden, `_random_values`, from which
its random, Bayesian and Hyperband oracles draw all that they draw by chance; a test fails if that changes.
"""

import random
import warnings
from itertools import product
from pathlib import Path

from keras_cnns.dimensions import dimensions
from keras_cnns.spaces import Choice, Int, LogUniform
from training.door import Refusal
from training.search import objective as objectives
from training.search import trials as folders
from training.search.plan import Search
from training.search.sizes import Sizes
from training.search.space import Candidate
from training.search.trials import Trial

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import keras_tuner
    from keras_tuner.engine.trial import Trial as Record
    from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle

TRIES = 300
MOST_LISTED = 20_000  # a larger space is drawn from, not listed
SCORE = keras_tuner.Objective("score", "max")
FACTOR = 3  # of Hyperband
FOREVER = 10**9
RUNNING, STOPPED = "RUNNING", "STOPPED"
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
            cost["latency_ms"] = round(self.sizes.latency_ms(candidate.architecture), 3)
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
        """A choice by chance that is new and allowed, or None: none is left, or none was found in so many tries."""
        terms, rng = self.search.space.terms, random.Random(f"{self.search.seed} {len(self.tried)}")
        if not self._list():
            draws = ({t.name: _drawn(t.domain, rng) for t in terms} for _ in range(TRIES))
            return next((picks for picks in draws if self.new(picks)), None)
        return next((dict(picks) for picks in self.listed if self.new(picks)), None)

    def near(self, picks: dict) -> dict | None:
        """The choice itself if it is new and allowed, else the nearest that is; in a large space one by chance."""
        picks = {t.name: picks.get(t.name, (_all(t.domain) or (0,))[0]) for t in self.search.space.terms}
        if self.new(picks):
            return picks
        if not self._list():
            return self.draw()
        spans = {t.name: max(1, len(_all(t.domain)) - 1) for t in self.search.space.terms}
        far = sorted(self.listed, key=lambda other: sum(abs(other[n] - picks[n]) / spans[n] for n in spans))
        return next((dict(other) for other in far if self.new(other)), None)

    def _list(self) -> bool:
        """Whether the space is small enough to be listed, in an order that chance decided once."""
        terms, size = self.search.space.terms, self.search.space.size
        if size is None or size > MOST_LISTED:
            return False
        if self.listed is None:
            grid = product(*(_all(term.domain) for term in terms))
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
        raise Refusal(f"no candidate of this space is allowed ({tried}); the nearest has {text}")


def _amount(reason: str) -> float:
    """How much a refused candidate costs; one that cannot be built is the last to be named."""
    try:
        return float(reason.split()[0].replace(",", ""))
    except ValueError:
        return float("inf")


def _all(domain) -> range:
    return range(len(domain.options)) if isinstance(domain, Choice) else domain.values()


def _drawn(domain, rng: random.Random):
    return domain.at(rng.random()) if isinstance(domain, LogUniform) else rng.choice(_all(domain))


def parameters(search: Search) -> keras_tuner.HyperParameters:
    """The space in KerasTuner's words; of a Choice the index, since it takes numbers and text only."""
    hp = keras_tuner.HyperParameters()
    for term in search.space.terms:
        if _all(term.domain) is not None and len(_all(term.domain)) == 1:
            continue  # nothing to choose: `near` adds it
        if isinstance(term.domain, Choice):
            hp.Int(term.name, 0, len(term.domain.options) - 1)
        elif isinstance(term.domain, Int):
            hp.Int(term.name, term.domain.low, term.domain.high)
        else:
            hp.Float(term.name, term.domain.low, term.domain.high, sampling="log")
    return hp


class _Guided:
    """What our oracles have in common. `guide` makes them ours."""

    def guide(self, root: Path, proposals: Proposals, past: list[Trial]):
        self.root, self.proposals, self.past = root, proposals, {t.number: t for t in past}
        return self

    def _random_values(self):
        return self.proposals.draw()

    def populate_space(self, trial_id):
        if self.proposals.search.objective.kind == "pareto":
            self._weigh()
        answer = super().populate_space(trial_id)
        values = answer.get("values")
        promoted = values is not None and values.get("tuner/round", 0) > 0
        if answer["status"] == RUNNING and not promoted:
            own = {k: v for k, v in values.items() if k.startswith(OWN)}
            picks = self.proposals.near({k: v for k, v in values.items() if k not in own})
            if picks is None:
                return {"status": STOPPED, "values": None}
            answer = {**answer, "values": {**picks, **own}}
        return answer

    def create_trial(self, tuner_id):
        """As KerasTuner's; a new trial gets its folder before anybody works on it."""
        record = super().create_trial(tuner_id)
        if record.status == RUNNING:
            number, picks = int(record.trial_id), dict(record.hyperparameters.values)
            if not (folders.place(self.root, number) / "trial.json").is_file():
                self.proposals.mark(picks)
                record_trial(self.root, self.proposals, number, picks)
        return record

    def _weigh(self):
        """Scores all finished trials under this proposal's own weights."""
        done, cost = (
            [t for t in self.trials.values() if t.status == "COMPLETED"],
            self.proposals.search.objective.cost,
        )
        for record in done:
            number = int(record.trial_id)
            if number not in self.past or not self.past[number].result:
                self.past[number] = folders.read(folders.place(self.root, number))
        points = [(t.top1, t.cost[cost]) for t in (self.past[int(record.trial_id)] for record in done)]
        for record, score in zip(done, objectives.weighings(points, len(self.trials)), strict=True):
            record.score = score


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


class Random(_Guided, RandomSearchOracle):
    """Choices by chance."""


class Bayesian(_Guided, BayesianOptimizationOracle):
    """A Gaussian process over the trials so far."""


class Hyperband(_Guided, HyperbandOracle):
    """Many short trials, the better ones again and longer (Li et al. 2016), each from scratch."""


def oracle(root: Path, search: Search, proposals: Proposals, past: list[Trial], count: int | None):
    """The oracle of a search that stands where its folders say; a folder that was put aside is tried once more."""
    if count is not None and past:
        count += past[-1].number + 1 - len(past)
    options = {
        "objective": SCORE,
        "hyperparameters": parameters(search),
        "seed": search.seed + 1,  # KerasTuner takes 0 for none
        "max_consecutive_failed_trials": FOREVER,
    }
    if search.tuner == "hyperband":
        made = Hyperband(max_epochs=search.space.base.recipe.epochs, factor=FACTOR, **options)
        made.max_trials = count
    else:
        made = {"random": Random, "bayesian": Bayesian}[search.tuner](max_trials=count, **options)
    made.verbose = 0
    return rebuilt(made.guide(root, proposals, past), search, past)


def rebuilt(made, search: Search, past: list[Trial]):
    """The oracle with all trials of the past; those that are open wait to be taken up first."""
    state, width = made.get_state(), len(str(made.max_trials))
    name = {t.number: f"{t.number:0{width}d}" for t in past}
    for number in range(past[-1].number if past else 0):  # KerasTuner counts its trials to name the next
        if number not in name:
            lost = f"{number:0{width}d}"
            made.trials[lost] = Record(made.get_space(), trial_id=lost, status="FAILED")
    for trial in past:
        space = made.get_space()
        space.values = dict(trial.picks)
        status = {"done": "COMPLETED", "failed": "FAILED", "open": RUNNING}[trial.status]
        record = Record(space, trial_id=name[trial.number], status=status)
        if trial.status == "done":
            record.metrics.register(SCORE.name, direction=SCORE.direction)
            record.metrics.update(SCORE.name, score_of(search, trial), step=0)
            record.score, record.best_step = score_of(search, trial), 0
        made.trials[record.trial_id] = record
    ended = [name[t.number] for t in past if t.status != "open"]
    state |= {"start_order": list(name.values()), "end_order": ended, "ongoing_trials": {}}
    state["retry_queue"] = [name[t.number] for t in reversed(past) if t.status == "open"]  # the last goes first
    if search.tuner == "hyperband" and past:
        state |= _brackets(state, past, name)
    made.set_state(state)
    return made


def score_of(search: Search, trial: Trial) -> float:
    """What the oracle hears of a finished trial."""
    return search.objective.score(trial.top1, trial.cost[search.objective.cost])


def _brackets(state: dict, past: list[Trial], name: dict[int, str]) -> dict:
    """Hyperband's brackets, from where each trial says that it stands.

    A trial says so by the bracket that was current when it was made. Brackets come in falling order, so the
    lowest is the current one. KerasTuner forgets brackets that are full, so they may be listed.
    """
    lowest = state["current_bracket"]
    found: dict[int, list[list]] = {}
    for trial in past:
        bracket, level = trial.picks["tuner/bracket"], trial.picks["tuner/round"]
        parent = trial.picks.get("tuner/trial_id")
        if level:  # made while a later bracket may have been current: it belongs to its parent's
            holds = (
                b
                for b, rounds in found.items()
                if any(i["id"] == name.get(int(parent)) for r in rounds for i in r)
            )
            bracket = next(holds, bracket)
        rounds = found.setdefault(bracket, [[] for _ in range(bracket + 1)])
        past_id = None if parent is None else name.get(int(parent))
        rounds[level].append({"past_id": past_id, "id": name[trial.number]})
        lowest = min(lowest, trial.picks["tuner/bracket"])
    found.setdefault(lowest, [[] for _ in range(lowest + 1)])
    return {
        "brackets": [{"bracket_num": b, "rounds": rounds} for b, rounds in sorted(found.items(), reverse=True)],
        "current_bracket": lowest,
        "current_iteration": 0,
    }
