"""Checkpoints of whole epochs: written beside, hashed, renamed into place; the last two are kept.

`checkpoints/epoch_00000007/` holds `weights.weights.h5` (weights, optimizer, random states) and `state.json`
(format, epoch, the file's sha256, states of callbacks). `checkpoints/best/` is the best epoch on validation.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from keras_cnns.deep import deep_recursion
from training.report.folder import write_json

FORMAT = 1
KEEP = 2
WEIGHTS = "weights.weights.h5"


@dataclass(frozen=True)
class Checkpoint:
    """One that was found whole: the last finished epoch and the callbacks' states."""

    folder: Path
    epoch: int
    states: dict

    def restore(self, model: keras.Model) -> None:
        """Loads weights and optimizer into a compiled model of the same structure."""
        model.optimizer.build(model.trainable_variables)
        with deep_recursion():
            model.load_weights(self.folder / WEIGHTS)


def save(folder: Path, name: str, epoch: int, model: keras.Model, states: dict) -> None:
    """Writes `folder/name` whole or not at all, in place of an older one of that name."""
    folder.mkdir(exist_ok=True)
    temporary = folder / f"{name}.tmp-{secrets.token_hex(4)}"
    temporary.mkdir()
    try:
        with deep_recursion():
            model.save_weights(temporary / WEIGHTS)
        state = {"format": FORMAT, "epoch": epoch, "sha256": _sha256(temporary / WEIGHTS), "states": states}
        write_json(temporary / "state.json", state)
        _sync(temporary / WEIGHTS)
        target = folder / name
        if target.exists():
            shutil.rmtree(target)
        os.rename(temporary, target)
        _sync(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_epoch(folder: Path, epoch: int, model: keras.Model, states: dict) -> None:
    """Writes the checkpoint of a finished epoch and removes all but the last two."""
    save(folder, f"epoch_{epoch:08d}", epoch, model, states)
    for old in sorted(folder.glob("epoch_????????"))[:-KEEP]:
        shutil.rmtree(old)


def latest(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None. Damaged ones are put aside and said."""
    for half in folder.glob("*.tmp-*"):
        shutil.rmtree(half, ignore_errors=True)
    for path in sorted(folder.glob("epoch_????????"), reverse=True):
        try:
            return read(path)
        except ValueError as error:
            say(f"checkpoint put aside: {error}")
            (folder / "quarantine").mkdir(exist_ok=True)
            os.rename(path, folder / "quarantine" / f"{path.name}-{secrets.token_hex(2)}")
    return None


def read(path: Path) -> Checkpoint:
    """A checkpoint whose hash is right.

    Raises:
        ValueError: a file is missing, unreadable or changed, or the format is of another version.
    """
    try:
        state = json.loads((path / "state.json").read_text())
        found, epoch, states, sha = state["format"], int(state["epoch"]), dict(state["states"]), state["sha256"]
        whole = _sha256(path / WEIGHTS) == sha
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    if found != FORMAT:
        raise ValueError(f"{path} has format {found}; this version reads {FORMAT}")
    if not whole:
        raise ValueError(f"{path / WEIGHTS} does not have the sha256 in state.json")
    return Checkpoint(path, epoch, states)


def weights_sha256(model: keras.Model) -> str:
    """sha256 over path, shape and little-endian bytes of `model.weights` in order."""
    digest = hashlib.sha256()
    for variable in model.weights:
        value = keras.ops.convert_to_numpy(variable)
        digest.update(f"{variable.path}{tuple(value.shape)}".encode())
        digest.update(value.astype(value.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
