"""Taking possession of a run folder: what may lie in it, that it can be written, that nobody else is at work."""

import os
from pathlib import Path

from training.engine import config as configs
from training.engine.config import Repeatable
from training.engine.lock import NAME, Lock
from training.report.folder import write_text

CHECKPOINTS = "checkpoints"
SWEPT = {"rates.png", "rates.txt", "rates.csv"}  # what `--find-lr` leaves


def check(folder: Path, besides: frozenset[str] = frozenset()) -> None:
    """Raises ValueError unless the folder is new, empty or a run's; files of names `besides` may be there."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--run wants a folder; {str(folder)!r} is a file")
    if (folder / "config.json").exists() or not folder.is_dir():
        return
    if not all(path.name in besides or _ours(path) for path in folder.iterdir()):
        raise ValueError(f"--run wants a new, an empty or a run's folder; {str(folder)!r} holds other files")


def _ours(path: Path) -> bool:
    """Whether a sweep over rates, or a run that was killed in its first moment, may have left it."""
    if path.name == CHECKPOINTS and path.is_dir():
        return {p.name for p in path.iterdir()} <= {NAME}
    return path.name in SWEPT or (path.name.startswith(".") and path.name.endswith(".tmp"))


def compare(folder: Path, config: Repeatable) -> None:
    """Raises ValueError where the folder holds a run of another configuration."""
    differences = configs.read(folder, type(config)).differences(config)
    if differences:
        raise ValueError(f"{folder} holds another run ({'; '.join(differences)}); give another --run")


def take(folder: Path) -> Lock:
    """Makes the folder, locks it, tries whether it can be written and removes what a killed run left half done.

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
        for half in [*folder.glob(".*.tmp"), *folder.glob("unfinished-*")]:
            half.unlink(missing_ok=True)
        return lock
    except OSError as error:
        raise ValueError(f"--run {str(folder)!r} cannot be written: {error.strerror or error}") from None
