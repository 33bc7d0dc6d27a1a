"""A search without training: proposals as in a real one, results made up by a formula."""

from keras_cnns import zoo
from training.recipes.defaults import QUICK
from training.report.folder import write_json
from training.search import trials as folders
from training.search.candidates import CandidateSampler, record_trial
from training.search.config import SearchConfig
from training.search.cost import Constraints, Cost, CostModel
from training.search.objective import Objective
from training.search.oracles import oracle
from training.search.space import Candidate
from training.search.space_parser import parse


class Formula(CostModel):
    """Sizes without building: quick, and refused where a test wants it."""

    def __init__(self):
        super().__init__(8, 3, 10)

    def __call__(self, architecture):
        row = architecture.row
        if row.depths[0] == 7:
            raise ValueError("seven is no depth")
        size = sum(row.depths) * row.widths[0] ** 2
        return Cost(size, 100 * size)


FREE, TOP1 = Constraints(), Objective()


def search(
    space="depth=1..6,width=8/16/32,gate", tuner="random", epochs=9, limits=FREE, objective=TOP1, seed=0
) -> SearchConfig:
    """A search of ResNet-20 on 8x8 digits."""
    base = Candidate(zoo.architecture("resnet20"), QUICK.scaled(epochs), "digits", 0)
    return SearchConfig(parse(space, base), tuner, objective, limits, seed, 10, 8, 3)


def sampler(plan, past=()):
    return CandidateSampler(plan, Formula(), list(past))


def past(root, plan, said=None):
    """The trials as a new start finds them."""
    fresh = sampler(plan)
    lines = [] if said is None else said
    return folders.read_all(root, lambda number, picks: record_trial(root, fresh, number, picks), lines.append)


def finish(folder, top1):
    """Gives a trial the result that a run would have written."""
    figures = {"loss": 1 - top1, "top1": top1, "top5": 1.0, "n": 180}
    write_json(folder / "result.json", {"val": figures, "test": {**figures, "n": 360}, "finished": True})


def formula(trial):
    """How good a trial is."""
    row = trial.candidate.architecture.row
    return min(0.99, 0.5 + 0.05 * row.depths[0] + 0.002 * row.widths[0] + 0.001 * trial.recipe.epochs)


class Session:
    """One start of a search, from the folders, with workers that ask in turn; to be dropped at any time."""

    def __init__(self, root, plan, count):
        self.root, self.plan = root, plan
        found = past(root, plan)
        for trial in found:
            if trial.result:
                trial.score = plan.objective.score(trial.top1, trial.cost["macs"])
        self.oracle = oracle(root, plan, sampler(plan, found), found, count)
        self.oracle._set_project_dir(str(root), "oracle")

    def ask(self, worker="w0"):
        """A trial to work on, or None; what KerasTuner answers besides is its status."""
        record = self.oracle.create_trial(worker)
        self.status = record.status
        return record if record.status == "RUNNING" else None

    def end(self, record, why=""):
        folder = folders.place(self.root, int(record.trial_id))
        trial = folders.read(folder)
        if why:
            folders.fail(folder, why)
            record.status = "FAILED"
        else:
            finish(folder, formula(trial))
            score = self.plan.objective.score(formula(trial), trial.cost["macs"])
            self.oracle.update_trial(record.trial_id, {"score": score})
            record.status = "COMPLETED"
        self.oracle.end_trial(record)
        return trial
