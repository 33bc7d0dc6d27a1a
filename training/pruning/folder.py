"""The folder of a pruning: its check, its lock, and its record of the network before and after."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from keras_cnns import values
from keras_cnns.values import Count, Positive, Range, Value, by_name
from training.report.folder import write_text
from training.run_folder.claim import FolderKind, check_folder
from training.run_folder.config import differing, read_value
from training.run_folder.lock import FILES, Lock

TASK, RECORD = "order.json", "pruning.json"
OURS = frozenset({TASK, *FILES})  # the files of the folder before there is a run in it
FOLDER = FolderKind("--out", "this pruning's", (TASK,), FILES)


@dataclass(frozen=True)
class PruningConfig(Value):
    """Which pruning a folder holds. `weights_sha256` identifies the network before; its run may be moved."""

    weights_sha256: str
    method: Literal["resrep", "magnitude"]
    keep_macs: Positive
    epochs: Count
    seed: Annotated[int, Range(0, 2**31 - 1)]

    ALIASES: ClassVar[tuple[str, ...]] = ("Task",)


def check(folder: Path, task: PruningConfig) -> None:
    """Raises ValueError unless the folder is new, empty or of this pruning. Writes nothing."""
    check_folder(folder, FOLDER)
    if not (folder / TASK).is_file():
        return
    try:
        held = read_value(folder / TASK, PruningConfig, by_name([PruningConfig]))
    except ValueError as error:
        raise ValueError(f"{error}; give another --out") from None
    if held.weights_sha256 != task.weights_sha256:
        raise ValueError(
            f"{folder} holds a pruning of other weights than --run now has (weights_sha256 "
            f"{held.weights_sha256:.12}... there, {task.weights_sha256:.12}... in --run); give another --out"
        )
    if differences := differing(held, task, ()):
        raise ValueError(f"{folder} holds another pruning ({'; '.join(differences)}); give another --out")


def hold(folder: Path, task: PruningConfig) -> Lock:
    """Makes the folder this pruning's and locks it.

    Raises:
        ValueError: it holds something else, another process holds it, or it cannot be written.
    """
    check(folder, task)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder, f"another prune.py is at work in {folder} ({{holder}}); give another --out")
        check(folder, task)  # again, since another process may have been first
        write_text(folder / TASK, values.to_json(task) + "\n")
        return lock
    except OSError as error:
        raise ValueError(f"--out {str(folder)!r} cannot be written: {error.strerror or error}") from None


def record(folder: Path) -> dict | None:
    """`pruning.json` of a pruned run; None if it is missing or damaged, since it can be made again."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        summary(found, folder)
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found


def summary(record: dict, folder: Path) -> str:
    """The last line, for people and scripts."""
    before, after = record["before"], record["after"]
    drop = 100 * (before["test"]["top1"] - after["test"]["top1"])
    return (
        f"done: {after['macs'] / before['macs']:.1%} of the MACs ({before['macs']:,} -> {after['macs']:,}), "
        f"{after['params'] / before['params']:.1%} of the parameters, test top-1 {before['test']['top1']:.4f} -> "
        f"{after['test']['top1']:.4f} (drop {drop:.2f} points, n={after['test']['n']}), run {folder}"
    )
