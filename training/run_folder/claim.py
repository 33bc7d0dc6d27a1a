"""Taking possession of a run folder: what may lie in it, that it can be written, that nobody else is at work."""

import os
from pathlib import Path

from training.report.folder import next_folder, write_text
from training.run_folder import config as configs
from training.run_folder.config import RunConfig
from training.run_folder.lock import NAME, Lock
from training.run_folder.results import finished_result

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


def check_same_config(folder: Path, config: RunConfig) -> None:
    """Raises ValueError where the folder holds a run of another configuration."""
    differences = type(config).read(folder).differences(config)
    if differences:
        raise ValueError(f"{folder} holds another run ({'; '.join(differences)}); give another --run")


def lock_folder(folder: Path) -> Lock:
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


def acquire(
    asked: Path | None, config: RunConfig, besides: frozenset[str] = frozenset()
) -> tuple[Path, dict | None, Lock | None]:
    """The folder to work in; the result of a finished run, or None; the lock on the folder of another.

    None takes the next folder in `runs/`. A new run's folder may hold files of names `besides`.

    Raises:
        ValueError: the folder holds another run or no run, is in use or cannot be written.
    """
    if asked is None:
        asked = next_folder(Path("runs"), config.label, config.data)
    check(asked, besides)
    if (asked / "config.json").exists() and (result := finished_result(asked)) is not None:
        check_same_config(asked, config)
        return asked, result, None
    lock = lock_folder(asked)
    if (asked / "config.json").exists():
        check_same_config(asked, config)
    else:
        configs.write(config, asked)
    return asked, None, lock
