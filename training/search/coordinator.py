"""Coordinates a search: its folder, oracle and workers, the live table and the report."""

import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from training.errors import RunError, usage_errors
from training.processes import free_ports
from training.report.folder import Log, next_folder
from training.run_folder import config as configs
from training.run_folder.claim import FolderKind, check_folder
from training.run_folder.lock import FILES, Lock
from training.search import chief, config, report
from training.search import trials as folders
from training.search.candidates import CandidateSampler, record_trial
from training.search.config import SearchConfig
from training.search.cost import CostModel
from training.search.live_table import Table
from training.search.oracles import oracle, score_of
from training.search.trials import Trial, ranked

DEFAULT_TRIALS = 20
SEARCH = FolderKind("--run", "a search's", (config.NAME, folders.FOLDER), (*FILES, "log.txt"))
TUNE = Path(__file__).parent.parent / "tune.py"


@dataclass(frozen=True)
class SearchBudget:
    """What may differ each time a search is started.

    Without a number of `trials` the tuner chooses it. The best `keep` trials keep their weights. `save_every` is
    (steps, seconds), one of them None.
    """

    trials: int | None
    parallel: int
    keep: int
    save_every: tuple[int | None, float | None]

    def command(self, root: Path) -> list[str]:
        """The command that starts a worker."""
        steps, seconds = self.save_every
        every = str(steps) if steps else f"{seconds:g}s"
        return [sys.executable, str(TUNE), "--run", str(root.resolve()), "--save-every", every]


def find_folder(asked: Path | None, search: SearchConfig, costs: CostModel) -> Path:
    """The folder of the search, new or to continue.

    Raises:
        UsageError: no candidate of a new search is allowed.
        ValueError: it holds something else.
    """
    base = search.space.base
    if not folders.begun(asked):
        CandidateSampler(search, costs).find_allowed()
    if asked is None:
        return next_folder(Path("runs"), f"search-{base.architecture.name}", base.data)
    check_folder(asked, SEARCH)
    damage = ""
    try:
        before = config.read(asked)
    except ValueError as error:
        before, damage = None, f"{error}; it is written again"
    different = configs.differing(before, search, ("version",)) if before else foreign_trials(asked, search, costs)
    if different:
        raise ValueError(f"{asked} holds another search ({'; '.join(different)}); give another --run")
    if damage:
        print(damage, flush=True)
    return asked


def foreign_trials(root: Path, search: SearchConfig, costs: CostModel) -> list[str]:
    """A sentence about the first trial of another search, in a folder without a usable `search.json`."""
    for folder in sorted((root / folders.FOLDER).glob("[0-9]*")):
        try:
            trial = folders.read(folder)
        except ValueError:
            continue  # repaired when the trials are read
        same = ("tuner/bracket" in trial.picks) == (search.tuner == "hyperband")
        same = same and set(trial.chosen) == set(search.space.names)
        try:
            same = same and search.space.candidate(search.picked(trial.picks), costs) == trial.candidate
        except ValueError:
            same = False
        if not same:
            return [f"its trial {folder.name}, of {trial.choices}, is not in this search"]
    return []


def coordinate(root: Path, search: SearchConfig, costs: CostModel, note: str, budget: SearchBudget) -> None:
    """Runs a search to its end: proposes trials, watches the workers, shows and writes their results.

    Raises:
        UsageError: another search is at work in the folder.
        RunError: no trial has a result, or nothing can be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    with usage_errors():
        held = Lock(root, f"another search is at work in {root} ({{holder}}); give another --run")
    with held, Log(root / "log.txt", sys.stdout) as log:
        log(f"search: {root} ({search.space.base.architecture.name})")
        log(note)
        config.write(search, root)
        fresh = CandidateSampler(search, costs)
        past = folders.read_all(root, lambda number, picks: record_trial(root, fresh, number, picks), log)
        ended = sum(t.status != "open" for t in past)
        if past:
            log(f"continuing: {ended} trials have ended, {len(past) - ended} are open")
        count = budget.trials or (None if search.tuner == "hyperband" else DEFAULT_TRIALS)
        watcher = Watcher(root, search, Table(sys.stdout, log, search.space.names, count), past, budget.keep)
        try:
            if count is None or ended < count:
                sampler = CandidateSampler(search, costs, past)
                _work(root, oracle(root, search, sampler, past, count), budget, watcher)
        finally:
            watcher.finish()
        conclude(root, watcher.trials, count, log)


def _work(root: Path, made, budget: SearchBudget, watcher: "Watcher") -> None:
    elsewhere = chief.role() == "chief"  # workers elsewhere may still run when those here have ended
    if not elsewhere:
        port = str(free_ports(1)[0])
        os.environ |= dict(zip(chief.VARIABLES, ("chief", "127.0.0.1", port), strict=True))
    server = chief.Chief(root, made)
    workers = chief.Workers(root, budget.parallel, budget.command(root), server, watcher.table.say)
    with chief.stopping(workers):
        while workers.look() or (elsewhere and server.serves()):
            watcher.look()
            time.sleep(chief.POLL_SECONDS)


def score(search: SearchConfig, trials: list[Trial]) -> None:
    """Sets the score of finished trials."""
    for trial in trials:
        if trial.status == "done":
            trial.score = score_of(search, trial)


class Watcher:
    """Reads the folders of trials; when one has ended, writes the table and `best/`, and frees disk space."""

    def __init__(self, root: Path, search: SearchConfig, table: Table, past: list[Trial], keep: int):
        self.root, self.search, self.table, self.trials, self.keep = root, search, table, past, keep
        self.ended = -1
        table.said |= {trial.number for trial in past if trial.status != "open"}  # logged by an earlier start

    def look(self) -> None:
        """Reads all once."""
        known = {t.number for t in self.trials}
        for path in sorted((self.root / folders.FOLDER).glob("[0-9]*")):
            if int(path.name) not in known and (path / "trial.json").is_file():
                self.trials.append(folders.read(path))
        for trial in self.trials:
            if trial.status == "open":
                folders.refresh(trial)
        score(self.search, self.trials)
        ended = sum(t.status != "open" for t in self.trials)
        if ended != self.ended:
            self.ended = ended
            report.write_best(self.root, self.trials)
            folders.prune(self.trials, self.keep)
            report.write_table(self.root, self.search, self.trials)
        self.table.show(self.trials)

    def finish(self) -> None:
        """Reads all a last time; writes pictures and report."""
        self.look()
        report.write_all(self.root, self.search, self.trials, shlex.join(["python", *sys.argv]))


def conclude(root: Path, trials: list[Trial], count: int | None, log: Log) -> None:
    """Logs the last lines.

    Raises:
        RunError: no trial has a result.
    """
    best, failed = ranked(trials), sum(t.status == "failed" for t in trials)
    if count is not None and len(trials) < count:
        log(f"all allowed candidates of this space are tried: {len(trials)} trials instead of {count}")
    if not best:
        raise RunError(f"all {failed} trials failed; the reasons are in {root / report.REPORT}")
    log(f"train the best again: {report.again(root)}")
    top, test = best[0], best[0].result["test"]
    log(
        f"done: {len(best)} trials, {failed} failed, best {top.folder.name} ({top.choices}): "
        f"val top-1 {top.top1:.4f} (n={top.result['val']['n']}), test top-1 {test['top1']:.4f} (n={test['n']}), "
        f"search {root}"
    )
