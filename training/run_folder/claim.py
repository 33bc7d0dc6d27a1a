"""Checks whether a folder may be used, creates and locks it: one check for all commands that write a folder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from training.errors import some
from training.report.folder import next_folder, write_text
from training.run_folder import config as configs
from training.run_folder.lock import FILES, Lock
from training.run_folder.results import finished_result

CHECKPOINTS = "checkpoints"
LR_FINDER_FILES = ("rates.png", "rates.txt", "rates.csv")  # what `--find-lr` leaves
HALF_WRITTEN = ".*.tmp"  # unfinished files of a killed process


@dataclass(frozen=True)
class FolderKind:
    """How a command's folder is recognised, and what may lie in it.

    Attributes:
        option: that names the folder.
        whose: "a run's", for the message.
        marks: names; a folder that has one of them is of this kind.
        allowed: patterns of what may lie in a folder without a mark; "checkpoints/lock" is a file of a folder.
        inside: patterns of what else may lie in a folder with a mark.
    """

    option: str
    whose: str
    marks: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    inside: tuple[str, ...] = ("*",)


RUN = FolderKind(
    "--run",
    "a run's",
    marks=("config.json",),
    allowed=(*LR_FINDER_FILES, *(f"{CHECKPOINTS}/{name}" for name in FILES)),
)


def check_folder(folder: Path, kind: FolderKind = RUN) -> None:
    """Raises ValueError unless the folder is new, empty or of this kind."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{kind.option} must be a folder, got the file {str(folder)!r}")
    if not folder.is_dir():
        return
    marked = any((folder / mark).exists() for mark in kind.marks)
    patterns = (HALF_WRITTEN, *kind.allowed, *kind.inside * marked)
    others = [name for name in _names(folder, patterns) if not any(fnmatchcase(name, p) for p in patterns)]
    if others:
        raise ValueError(
            f"{kind.option} must be a new, an empty or {kind.whose} folder, got {str(folder)!r}, which holds "
            f"{some(others, 3)}"
        )


def _names(folder: Path, patterns: tuple[str, ...]) -> Iterator[str]:
    """Names of what lies in the folder; where a pattern names a subfolder, of what lies in that."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and any(pattern.startswith(f"{path.name}/") for pattern in patterns):
            yield from (f"{path.name}/{inner.name}" for inner in sorted(path.iterdir()))
        else:
            yield path.name


def check_same_config(folder: Path, config: configs.RunConfig) -> None:
    """Raises ValueError where the folder holds a run of another configuration."""
    differences = configs.differing(type(config).read(folder), config, configs.FREE)
    if differences:
        raise ValueError(f"{folder} holds another run ({'; '.join(differences)}); give another --run")


def lock_folder(folder: Path) -> Lock:
    """Creates the folder, locks it, tries to write to it and removes the unfinished files of a killed run.

    Raises:
        ValueError: it cannot be written, or another process holds it.
    """
    try:
        (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        lock = Lock(folder / CHECKPOINTS)
        for place in (folder, folder / CHECKPOINTS):
            trial = place / f".trial.{os.getpid()}.tmp"
            write_text(trial, "")
            trial.unlink()
        for half in [*folder.glob(HALF_WRITTEN), *folder.glob("unfinished-*")]:
            half.unlink(missing_ok=True)
        return lock
    except OSError as error:
        raise ValueError(f"--run {str(folder)!r} cannot be written: {error.strerror or error}") from None


def acquire(
    asked: Path | None, config: configs.RunConfig, besides: frozenset[str] = frozenset()
) -> tuple[Path, dict | None, Lock | None]:
    """The folder to work in; the result of a finished run, or None; the lock, unless the run is finished.

    None takes the next folder in `runs/`. A new run's folder may hold files of names `besides`.

    Raises:
        ValueError: the folder holds another run or no run, is in use or cannot be written.
    """
    if asked is None:
        asked = next_folder(Path("runs"), config.label, config.data)
    check_folder(asked, replace(RUN, allowed=(*RUN.allowed, *besides)))
    if (asked / "config.json").exists() and (result := finished_result(asked)) is not None:
        check_same_config(asked, config)
        return asked, result, None
    lock = lock_folder(asked)
    if (asked / "config.json").exists():
        check_same_config(asked, config)
    else:
        configs.write(config, asked)
    return asked, None, lock
