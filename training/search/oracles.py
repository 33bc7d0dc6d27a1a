"""KerasTuner's oracles, with constraints, without repetitions, and with a state from the folders of trials.

KerasTuner 1.4.8 keeps its state in files that it writes in place. Here they are never read: at every start the
state is made again from the folders of trials (`rebuilt`). One private method is overridden, `_random_values`, the
only source of random values of the random, Bayesian and Hyperband oracles; a test fails if that changes.
"""

import warnings
from functools import cache
from pathlib import Path

from training.search import objective as objectives
from training.search import trials as folders
from training.search.candidates import CandidateSampler, all_picks, record_trial
from training.search.config import SearchConfig
from training.search.trials import Trial

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import keras_tuner
    from keras_tuner.engine.trial import Trial as Record
    from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle

SCORE = keras_tuner.Objective("score", "max")
FACTOR = 3  # of Hyperband
RUNNING, STOPPED = "RUNNING", "STOPPED"


def parameters(search: SearchConfig) -> keras_tuner.HyperParameters:
    """The space for KerasTuner; a Choice by its index, since KerasTuner takes numbers and text only."""
    hp = keras_tuner.HyperParameters()
    for term in search.space.terms:
        picks = all_picks(term.domain)
        if picks is None:
            hp.Float(term.name, term.domain.low, term.domain.high, sampling="log")
        elif len(picks) > 1:  # a single one is nothing to choose: `nearest_untried` adds it
            hp.Int(term.name, picks[0], picks[-1])
    return hp


class _Guided:
    """What the three oracles have in common."""

    def __init__(self, root: Path, sampler: CandidateSampler, **options):
        super().__init__(**options)
        self.root, self.sampler = root, sampler
        self.finished = cache(lambda number: folders.read(folders.place(root, number)))

    def _random_values(self):
        return self.sampler.sample()

    def populate_space(self, trial_id):
        if self.sampler.search.objective.kind == "pareto":
            self._weight_scores()
        answer = super().populate_space(trial_id)
        values = answer.get("values")
        promoted = values is not None and values.get("tuner/round", 0) > 0
        if answer["status"] == RUNNING and not promoted:
            picks = self.sampler.nearest_untried(values)
            if picks is None:
                return {"status": STOPPED, "values": None}
            return {**answer, "values": picks | {k: v for k, v in values.items() if k not in picks}}
        return answer

    def create_trial(self, tuner_id):
        """As KerasTuner's; a new trial gets its folder before a worker starts it."""
        record = super().create_trial(tuner_id)
        if record.status == RUNNING:
            number, picks = int(record.trial_id), dict(record.hyperparameters.values)
            if not (folders.place(self.root, number) / "trial.json").is_file():
                record_trial(self.root, self.sampler, number, picks)
        return record

    def _weight_scores(self):
        """Scores all finished trials by the random weights of this proposal."""
        cost = self.sampler.search.objective.cost
        done = [t for t in self.trials.values() if t.status == "COMPLETED"]
        points = [(t.top1, t.cost[cost]) for t in (self.finished(int(record.trial_id)) for record in done)]
        for record, score in zip(done, objectives.weighted_scores(points, len(self.trials)), strict=True):
            record.score = score


class Random(_Guided, RandomSearchOracle):
    """Random picks."""


class Bayesian(_Guided, BayesianOptimizationOracle):
    """A Gaussian process over the trials so far."""


class Hyperband(_Guided, HyperbandOracle):
    """Many short trials, the best again and longer (Li et al. 2016), each from scratch."""


def oracle(root: Path, search: SearchConfig, sampler: CandidateSampler, past: list[Trial], count: int | None):
    """The oracle with the state of the folders; a trial whose folder was moved away is replaced by another."""
    if count is not None and past:
        count += past[-1].number + 1 - len(past)
    options = {
        "objective": SCORE,
        "hyperparameters": parameters(search),
        "seed": search.seed + 1,  # KerasTuner takes 0 for none
        "max_consecutive_failed_trials": 10**9,
    }
    if search.tuner == "hyperband":
        made = Hyperband(root, sampler, max_epochs=search.space.base.recipe.epochs, factor=FACTOR, **options)
        made.max_trials = count
    else:
        made = {"random": Random, "bayesian": Bayesian}[search.tuner](root, sampler, max_trials=count, **options)
    made.verbose = 0
    return rebuilt(made, search, past)


def rebuilt(made, search: SearchConfig, past: list[Trial]):
    """The oracle with all trials so far; open ones are continued first."""
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
    """The score of a finished trial for the oracle."""
    return search.objective.score(trial.top1, trial.cost[search.objective.cost])


def _brackets(state: dict, past: list[Trial], name: dict[int, str]) -> dict:
    """Hyperband's brackets, from the picks of the trials.

    A trial has the bracket that was current when it was made. Brackets are in falling order, so the lowest is the
    current one. KerasTuner drops full brackets, so they may be listed.
    """
    lowest = state["current_bracket"]
    found: dict[int, list[list]] = {}
    for trial in past:
        bracket, level = trial.picks["tuner/bracket"], trial.picks["tuner/round"]
        parent = trial.picks.get("tuner/trial_id")
        if level:  # a later bracket may have been current: the trial belongs to the bracket of its parent
            ids = {b: [trial["id"] for trials in rounds for trial in trials] for b, rounds in found.items()}
            bracket = next((b for b in ids if name.get(int(parent)) in ids[b]), bracket)
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
