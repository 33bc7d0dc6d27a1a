"""`config.json` of a run folder: written, read, compared and hashed."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Self

from keras_cnns import values
from keras_cnns.values import Value
from training.report.folder import write_text

# Fields that may differ when a run continues: how it computes, not what.
FREE = ("replicas", "xla", "workers", "version")
IN_RUN_FOLDER = "run:"  # before a path from the run's folder, which may be moved


class RunConfig(Value):
    """Base of what describes a run well enough to repeat it. `PARTS` are the types and functions of its JSON."""

    PARTS: ClassVar[Mapping[str, Callable]]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The configuration of a run folder.

        Raises:
            ValueError: there is none, or it is damaged, or it is that of another kind of run.
        """
        path = Path(folder) / "config.json"
        if not path.is_file():
            raise ValueError(f"no run in {str(folder)!r}: it has no config.json")
        return read_value(path, cls, cls.PARTS)


def read_value(path: Path, kind: type, parts: Mapping[str, Callable]):
    """The value of a JSON file.

    Raises:
        ValueError: it is damaged, names a type that is not in `parts`, or holds another kind of value.
    """
    try:
        value = values.from_json(path.read_text(encoding="utf-8"), parts)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from None
    if not isinstance(value, kind):
        raise ValueError(f"{path} must hold a {kind.__name__}, got a {type(value).__name__}")
    return value


def differing(one: Value, other: Value, free: tuple[str, ...]) -> list[str]:
    """Fields, by path, in which two values differ, but for the `free` ones, as "epochs: 30 here, 60 asked"."""
    mine, theirs = flat(values.encode(one)), flat(values.encode(other))
    paths = [p for p in dict.fromkeys((*mine, *theirs)) if p not in free]
    return [f"{p}: {mine.get(p)!r} here, {theirs.get(p)!r} asked" for p in paths if mine.get(p) != theirs.get(p)]


def fixed_fields(config: RunConfig) -> dict:
    """The fields that may not change when a run continues, by path."""
    return _fixed(values.encode(config))


def identity(folder: Path, config: RunConfig) -> str:
    """Hash of what may not change when a run continues, as it stands in the folder's `config.json`.

    The file is hashed and not the value read from it: a field that was renamed or added since would change the
    hash of an older run, and its checkpoints would not fit it. Without a file it is the hash of `config`.
    """
    path = Path(folder) / "config.json"
    data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else values.encode(config)
    return hashlib.sha256(json.dumps(sorted(_fixed(data).items())).encode()).hexdigest()


def _fixed(data: dict) -> dict:
    return {path: value for path, value in flat(data).items() if path not in FREE}


def write(config: RunConfig, folder: Path) -> None:
    """Writes `config.json`."""
    write_text(folder / "config.json", values.to_json(config) + "\n")


def flat(data, path: str = "") -> dict:
    """Nested JSON data as {"recipe.optimizer.rate": 0.1, ...}."""
    if isinstance(data, dict):
        items = [(f"{path}.{k}".lstrip("."), v) for k, v in data.items()]
        return {k: v for p, d in items for k, v in flat(d, p).items()}
    return {path: tuple(map(str, data)) if isinstance(data, list) else data}
