"""Checkpoints: written to a temporary folder, hashed and renamed; read only if the hashes are right.

`checkpoints/step_00001234/` holds `tensors.npz` (weights, optimizer, random states, sums of metrics), `state.json`
(the position in the run, the states of callbacks) and `manifest.json` (sha256 and size of both). The number counts
the batches trained on. `checkpoints/best_00001140/` is the same for the best epoch. The last two of each kind are
kept, since the newest may be damaged.
"""

import hashlib
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from training.data.npz import headers
from training.errors import Diverged, RunError
from training.report.folder import replace_folder, sha256, sync, write_json
from training.run_folder import tensors

FORMAT = 2
KEEP = 2
TENSORS, STATE, MANIFEST = "tensors.npz", "state.json", "manifest.json"
STEP, BEST = "step_", "best_"


@dataclass(frozen=True)
class Position:
    """Position in a run: finished epochs, steps of the next epoch, batches in all."""

    epoch: int
    step: int
    number: int


START = Position(0, 0, 0)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose hashes are right; `states` are those of the callbacks, by name."""

    folder: Path
    place: Position
    states: dict

    def restore(self, model: keras.Model) -> dict[str, np.ndarray]:
        """Restores a compiled model of the same structure; returns the sums of its metrics.

        Raises:
            ValueError: the tensors do not fit this model.
        """
        model.optimizer.build(model.trainable_variables)
        path = self.folder / TENSORS
        try:
            tensors.check(model, headers(path))
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise ValueError(f"{path} does not fit this run's network: {error}") from error
        tensors.scatter(model, arrays)
        return {name: array for name, array in arrays.items() if name.startswith(tensors.METRIC)}


def save(folder: Path, kind: str, place: Position, model: keras.Model, states: dict, run: str, sums=None) -> None:
    """Writes `folder/<kind><number>` whole or not at all, and removes all but the last two of its kind.

    Args:
        kind: `STEP` or `BEST`.
        run: the run's identity (`config.identity`).
        sums: of the metrics, in place of the model's own, which may have been reset.

    Raises:
        Diverged: a number is not finite.
        RunError: the disk is full or gone. In both cases the older checkpoints are kept.
    """
    arrays = tensors.gather(model) | (sums or {})
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Diverged(f"{name} is not finite: no checkpoint is written, the last good one is kept")
    target = folder / f"{kind}{place.number:08d}"
    temporary = folder / f"{target.name}.tmp-{secrets.token_hex(4)}"
    try:
        folder.mkdir(exist_ok=True)
        temporary.mkdir()
        with open(temporary / TENSORS, "xb") as file:
            np.savez(file, **arrays)
        state = {"format": FORMAT, "run": run, "place": asdict(place), "states": states}
        write_json(temporary / STATE, state)
        sync(temporary / TENSORS)
        files = {name: {"sha256": sha256(temporary / name), "bytes": (temporary / name).stat().st_size}
                 for name in (TENSORS, STATE)}  # fmt: skip
        write_json(temporary / MANIFEST, {"format": FORMAT, "files": files})
        sync(temporary)
        replace_folder(temporary, target, folder / f"{target.name}.tmp-{secrets.token_hex(4)}")
        prune(folder, kind)
    except OSError as error:
        raise RunError(
            f"the checkpoint {target} cannot be written ({error.strerror or error}); the last good one is kept"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def prune(folder: Path, kind: str) -> None:
    """Removes all but the last two of a kind, and unfinished ones."""
    for old in [*found(folder, kind)[KEEP:], *folder.glob(f"{kind}*.tmp-*")]:
        shutil.rmtree(old, ignore_errors=True)


def found(folder: Path, kind: str) -> list[Path]:
    """The checkpoints of a kind, newest first."""
    return sorted(folder.glob(f"{kind}{'[0-9]' * 8}"), reverse=True)


def latest(folder: Path, kind: str, run: str, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest undamaged checkpoint of a kind, or None. Damaged ones are moved to `quarantine/` and reported.

    Raises:
        ValueError: a checkpoint of another version or of another run.
    """
    for half in folder.glob("*.tmp-*"):
        shutil.rmtree(half, ignore_errors=True)
    for path in found(folder, kind):
        try:
            state = _verified(path)
        except ValueError as error:
            aside = folder / "quarantine" / f"{path.name}-{secrets.token_hex(2)}"
            aside.parent.mkdir(exist_ok=True)
            os.rename(path, aside)
            say(f"checkpoint {path.name} is damaged ({error}); moved to {aside}")
            continue
        if state["format"] != FORMAT:
            raise ValueError(
                f"{path} must have format {FORMAT}, got {state['format']}: continue with the version that began "
                "the run, or give another --run"
            )
        if state["run"] != run:
            raise ValueError(f"{path} belongs to another run (its configuration has another hash)")
        try:
            return Checkpoint(path, Position(**state["place"]), dict(state["states"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path / STATE} cannot be read by this version ({error})") from error
    return None


def _verified(path: Path) -> dict:
    """The state of a checkpoint; ValueError if a file does not have its hash."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        if state["format"] != FORMAT:
            return {"format": int(state["format"])}
        files = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name in (TENSORS, STATE):
            if (path / name).stat().st_size != files[name]["bytes"]:
                raise ValueError(f"{name} has another length than in {MANIFEST}")
            if sha256(path / name) != files[name]["sha256"]:
                raise ValueError(f"{name} has another sha256 than in {MANIFEST}")
        return {"run": state["run"], "place": state["place"], **state}
    except (OSError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def weights_sha256(model: keras.Model) -> str:
    """sha256 over path, shape and little-endian bytes of `model.weights` in order."""
    digest = hashlib.sha256()
    for variable in model.weights:
        value = keras.ops.convert_to_numpy(variable)
        digest.update(f"{variable.path}{tuple(value.shape)}".encode())
        digest.update(value.astype(value.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
