"""What to try next: KerasTuner's oracles, made to heed constraints, to try nothing twice and to start anywhere.

KerasTuner 1.4.8 keeps a state in files that it writes in place. Here they are never read: at every start the state
is made again from the trials' folders (`rebuilt`). One private method is overridden, `_random_values`, from which
its random, Bayesian and Hyperband oracles draw all that they draw by chance; a test fails if that changes.
"""

import warnings
from pathlib import Path

from keras_cnns.spaces import Choice, Int
from training.search import objective as objectives
from training.search import trials as folders
from training.search.candidates import OWN_PICKS, CandidateSampler, every, record_trial
from training.search.config import SearchConfig
from training.search.trials import Trial

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import keras_tuner
    from keras_tuner.engine.trial import Trial as Record
    from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle

SCORE = keras_tuner.Objective("score", "max")
FACTOR = 3  # of Hyperband
FOREVER = 10**9
RUNNING, STOPPED = "RUNNING", "STOPPED"


def parameters(search: SearchConfig) -> keras_tuner.HyperParameters:
    """The space in KerasTuner's words; of a Choice the index, since it takes numbers and text only."""
    hp = keras_tuner.HyperParameters()
    for term in search.space.terms:
        if every(term.domain) is not None and len(every(term.domain)) == 1:
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

    def guide(self, root: Path, proposals: CandidateSampler, past: list[Trial]):
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
            own = {k: v for k, v in values.items() if k.startswith(OWN_PICKS)}
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


class Random(_Guided, RandomSearchOracle):
    """Choices by chance."""


class Bayesian(_Guided, BayesianOptimizationOracle):
    """A Gaussian process over the trials so far."""


class Hyperband(_Guided, HyperbandOracle):
    """Many short trials, the better ones again and longer (Li et al. 2016), each from scratch."""


def oracle(root: Path, search: SearchConfig, proposals: CandidateSampler, past: list[Trial], count: int | None):
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


def rebuilt(made, search: SearchConfig, past: list[Trial]):
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


def score_of(search: SearchConfig, trial: Trial) -> float:
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
