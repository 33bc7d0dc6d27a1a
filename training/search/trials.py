"""Trials as folders: the whole state of a search.

`trials/0003/` is an ordinary run folder with two more files: `trial.json` has the chosen values and is written
before training; `failed.json` has the reason of a failed trial. All else is read from the files of the run, so no
other state can contradict them.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_cnns import values
from training.recipes.recipe import Recipe
from training.report.folder import write_json
from training.run_folder.results import finished_result
from training.search.config import PARTS
from training.search.space import Candidate

FOLDER, QUARANTINE, ORACLE = "trials", "quarantine", "oracle"
HEAVY = ("step_*", "best_*", "quarantine")  # below checkpoints/


@dataclass
class Trial:
    """A trial.

    Attributes:
        number, folder: 3 and `trials/0003`.
        picks: the oracle's numbers, among them Hyperband's "tuner/...".
        candidate: what is trained, for `epochs` if the tuner sets them (Hyperband).
        chosen: values of the dimensions, as text.
        cost: params, macs and, if measured, latency_ms.
        result: `result.json` of a finished trial, else None.
        why: reason of a failed trial.
    """

    number: int
    folder: Path
    picks: dict[str, Any]
    candidate: Candidate
    chosen: dict[str, str]
    cost: dict[str, float]
    epochs: int | None = None
    result: dict | None = None
    why: str = ""
    score: float | None = None

    @property
    def status(self) -> str:
        """ "done", "failed" or "open"."""
        return "done" if self.result else "failed" if self.why else "open"

    @property
    def choices(self) -> str:
        """The chosen values, as "depth=2, width=16"."""
        return ", ".join(f"{name}={value}" for name, value in self.chosen.items())

    @property
    def top1(self) -> float | None:
        """Validation top-1 of a finished trial."""
        return self.result["val"]["top1"] if self.result else None

    @property
    def recipe(self) -> Recipe:
        """The recipe, for the epochs of this trial."""
        return self.candidate.recipe.scaled(self.epochs) if self.epochs else self.candidate.recipe

    def has_weights(self) -> bool:
        """Whether the weights were kept, as those of the best are."""
        return (self.folder / "model.keras").is_file()


def place(root: Path, number: int) -> Path:
    """The folder of a trial."""
    return root / FOLDER / f"{number:04d}"


def read(folder: Path) -> Trial:
    """The trial of a folder.

    Raises:
        ValueError: `trial.json` is missing or damaged.
    """
    path = folder / "trial.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        candidate = values.decode(data["candidate"], PARTS)
        fields = (data[name] for name in ("chosen", "cost", "epochs"))
        trial = Trial(int(folder.name), folder, data["picks"], candidate, *fields)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from None
    refresh(trial)
    return trial


def refresh(trial: Trial) -> None:
    """Reads the result or the failure. A damaged `result.json` is renamed, and the run writes it again."""
    try:
        trial.result = finished_result(trial.folder)
    except ValueError:
        (trial.folder / "result.json").replace(trial.folder / "result.json.damaged")
    failed = trial.folder / "failed.json"
    if failed.is_file() and not trial.result:
        try:
            trial.why = json.loads(failed.read_text(encoding="utf-8"))["why"]
        except (OSError, ValueError, KeyError, TypeError):
            trial.why = "unknown: failed.json is damaged"


def fail(folder: Path, why: str) -> None:
    """Records that the trial has failed."""
    write_json(folder / "failed.json", {"why": " ".join(why.split())})


def begun(root: Path | None) -> bool:
    """Whether the folder of a search has a trial."""
    return root is not None and any((root / FOLDER).glob("*/trial.json"))


def read_all(root: Path, again: Callable[[int, dict], None], say: Callable[[str], None]) -> list[Trial]:
    """All trials, by number. A damaged `trial.json` is written again from the oracle's copy of the picks (by
    `again`, which may raise ValueError), or else the folder is moved to `quarantine/`.
    """
    found = []
    folders = (p for p in (root / FOLDER).glob("*") if p.is_dir() and re.fullmatch(r"\d+", p.name))
    for folder in sorted(folders, key=lambda p: int(p.name)):
        try:
            found.append(read(folder))
            continue
        except ValueError as error:
            fault = error
        if _written_again(root, int(folder.name), again):
            found.append(read(folder))
            say(f"{fault}; written again from the oracle's copy")
        elif any(folder.iterdir()):
            aside = root / QUARANTINE / f"{folder.name}-{os.urandom(3).hex()}"
            aside.parent.mkdir(exist_ok=True)
            folder.replace(aside)
            say(f"{fault}; the folder is now {aside}")
        else:
            folder.rmdir()  # killed before a file was written
    return found


def _written_again(root: Path, number: int, again: Callable[[int, dict], None]) -> bool:
    """Whether a `trial.json` could be written again from the picks in KerasTuner's own files."""
    for path in (root / ORACLE).glob("trial_*/trial.json"):
        try:
            if int(path.parent.name.removeprefix("trial_")) != number:
                continue
            picks = json.loads(path.read_text(encoding="utf-8"))["hyperparameters"]["values"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        with suppress(ValueError):  # the copy is damaged, too, or of another search
            again(number, picks)
            return True
    return False


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """The finished trials, best first; of equal scores the cheaper, then the earlier."""
    done = [t for t in trials if t.status == "done"]
    return sorted(done, key=lambda t: (-t.score, t.cost["macs"], t.number))


def prune(trials: list[Trial], keep: int) -> None:
    """Removes the checkpoints of all ended trials, and all weights but those of the best."""
    best = {t.number for t in ranked(trials)[:keep]}
    for trial in trials:
        if trial.status == "open":
            continue
        for pattern in HEAVY:
            for path in (trial.folder / "checkpoints").glob(pattern):
                shutil.rmtree(path, ignore_errors=True)
        if trial.number not in best:
            (trial.folder / "model.keras").unlink(missing_ok=True)
