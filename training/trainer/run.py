"""Runs: from a `RunSpec` to a finished run folder, for every command that trains."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import lcm
from pathlib import Path
from typing import Any

from training.engine.devices import Compute
from training.errors import UsageError, usage_errors
from training.processes import Terminated
from training.report.folder import Log, next_folder
from training.run_folder import claim
from training.run_folder.config import RunConfig
from training.trainer import lr_finder, multi_worker
from training.trainer.checkpoint_saver import SaveInterval
from training.trainer.task import Task
from training.trainer.trainer import train

DRY_BATCH = 4  # images
DRY = "dry run: one step of everything worked; nothing was kept"


@dataclass(frozen=True)
class RunSpec:
    """What is to be trained, before it has a folder.

    Attributes:
        notes: lines for the log.
        options: more fields of the task.
    """

    task: type[Task]
    config: RunConfig
    data: Any
    compute: Compute
    notes: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    def in_folder(self, folder: Path, log: Log) -> Task:
        """The task that fills a folder."""
        return self.task(self.config, self.data, self.compute, folder, log, **dict(self.options))

    def dry(self) -> "RunSpec":
        """One step of everything: one small batch to train on, one to validate, one to test."""
        config, recipe = self.config, self.config.recipe
        batch = lcm(DRY_BATCH, config.replicas * getattr(recipe, "accumulate", 1))
        splits = {name: getattr(self.data, name) for name in ("train", "val", "test")}
        few = {name: split.take(range(min(batch, len(split)))) for name, split in splits.items()}
        recipe = replace(recipe.scaled(1), batch_size=min(batch, len(few["train"])))
        return replace(self, config=replace(config, recipe=recipe, dry=True), data=replace(self.data, **few))


def train_in_folder(
    spec: RunSpec,
    asked: Path | None,
    *,
    besides: frozenset[str] = frozenset(),
    before: Callable[[Path], None] = lambda folder: None,
    **logging,
) -> tuple[Path, dict, bool]:
    """Trains in a run folder, or continues there, unless it is finished; returns (folder, result, was finished).

    Args:
        asked: the folder; None takes the next one in `runs/`.
        besides: names of files that a new folder may hold.
        before: called with the folder, which is locked, before training.
        logging: of `train_with_log`.

    Raises:
        UsageError: the folder holds something else, is in use or cannot be written.
    """
    with usage_errors():
        folder, result, lock = claim.acquire(asked, spec.config, besides)
    if result is not None:
        return folder, result, True
    with lock:
        before(folder)
        return folder, train_with_log(spec, folder, **logging), False


def train_with_log(spec: RunSpec, folder: Path, *, title: str = "", echo=None, resume_command=None) -> dict:
    """Trains in a folder that this process holds, with a log in it.

    Args:
        title: first line of the log; by default the folder and the network.
        echo: a stream that gets the log, too.
        resume_command: folder -> the command that continues after an interruption, or None.
    """
    with Log(folder / "log.txt", echo) as log:
        log(title or f"run: {folder} ({spec.config.label})")
        for note in spec.notes:
            log(note)
        try:
            result = train(spec.in_folder(folder, log))
        except (KeyboardInterrupt, Terminated) as error:
            if resume_command is None:
                raise
            raise type(error)(f"continue with: {resume_command(folder)}") from None
        log(spec.task.summary(result, folder))
        return result


def fit_command(args, spec: RunSpec, resume_command: Callable[[Path], str]) -> None:
    """What `fit.py` and `detect.py fit` do with their arguments: a dry run, a learning-rate sweep, or training."""

    spec = replace(spec, options=(*spec.options, ("every", SaveInterval(*args.save_every))))
    if args.find_lr:
        find_lr_command(args.run, spec)
    elif spec.compute.communicator:
        spec = replace(spec.dry() if args.dry_run else spec, notes=(*spec.notes, multi_worker.SAVES))
        multi_worker.take_part(args, spec, partial(train_with_log, resume_command=resume_command))
        if args.dry_run:
            print(DRY)
    elif args.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "checkpoints").mkdir()
            train_with_log(spec.dry(), Path(folder), echo=sys.stdout)
        print(DRY)
    else:
        logging = {"echo": sys.stdout, "resume_command": resume_command}
        folder, result, finished = train_in_folder(spec, args.run, **logging)
        if finished:
            print(f"this run is finished already\n{spec.task.summary(result, folder)}")


def find_lr_command(asked: Path | None, spec: RunSpec) -> None:
    """Draws the curve of a learning-rate sweep into the folder and prints the suggestion."""
    if spec.compute.communicator:
        raise UsageError("--find-lr does not work with several workers: leave out --workers")
    with usage_errors():
        folder = asked or next_folder(Path("runs"), spec.config.label, spec.config.data)
        claim.check_folder(folder)
        lock = claim.lock_folder(folder)
    with lock, Log(folder / lr_finder.LOG, sys.stdout) as log:
        for note in spec.notes:
            log(note)
        rate = lr_finder.find_learning_rate(spec.in_folder(folder, log))
        curve = folder / lr_finder.PICTURE
        log(f"suggested rate: {rate:.2g} (--set optimizer.rate={rate:.2g}); the curve is {curve}")
