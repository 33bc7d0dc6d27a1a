"""`config.json` of a run folder: written, read, compared and hashed."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Self

from keras_cnns import values
from keras_cnns.values import Value
from training.report.folder import write_text

# What may differ when a run is taken up again: how it computes, not what.
MAY_DIFFER = ("replicas", "xla", "workers")
IN_RUN_FOLDER = "run:"  # before a path from the run's folder, which may be moved


class RunConfig(Value):
    """What a run is made of, so that it can be repeated and taken up again. `PARTS` is what its JSON may name."""

    PARTS: ClassVar[Mapping[str, Callable]]

    def differences(self, other: "RunConfig") -> list[str]:
        """Fields, by path, in which another run differs from this one, as "epochs: 30 here, 60 asked"."""
        return differing(self, other, (*MAY_DIFFER, "version"))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The configuration of a run folder.

        Raises:
            ValueError: there is none, or it is not one that this package wrote, or a run of another kind.
        """
        path = Path(folder) / "config.json"
        if not path.is_file():
            raise ValueError(f"no run in {str(folder)!r}: it has no config.json")
        try:
            config = values.from_json(path.read_text(encoding="utf-8"), cls.PARTS)
        except (ValueError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{path} cannot be used: {error}") from None
        if not isinstance(config, cls):
            raise ValueError(f"{path} holds a {type(config).__name__}, not a run's {cls.__name__}")
        return config


def differing(one: Value, other: Value, free: tuple[str, ...]) -> list[str]:
    """Fields, by path, in which two values differ, but for the `free` ones."""
    mine, theirs = flat(values.encode(one)), flat(values.encode(other))
    paths = [p for p in dict.fromkeys((*mine, *theirs)) if p not in free]
    return [f"{p}: {mine.get(p)!r} here, {theirs.get(p)!r} asked" for p in paths if mine.get(p) != theirs.get(p)]


def fixed_fields(config: RunConfig) -> dict:
    """All that may not change when a run continues, by path."""
    return _fixed(values.encode(config))


def identity(folder: Path, config: RunConfig) -> str:
    """Hash of what may not change when a run continues, as it stands in the folder's `config.json`.

    The file is hashed, not the value that was read from it: a field that has a new name since, or is new, would
    change the hash of an older run, and its checkpoints would not be its own. Without a file, that of `config`.

    Raises:
        ValueError: the file is no JSON object.
    """
    path = Path(folder) / "config.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else values.encode(config)
        items = sorted(_fixed(data).items())
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from None
    return hashlib.sha256(json.dumps(items).encode()).hexdigest()


def _fixed(data: dict) -> dict:
    return {path: value for path, value in flat(data).items() if path not in (*MAY_DIFFER, "version")}


def write(config: RunConfig, folder: Path) -> None:
    """Writes `config.json`."""
    write_text(folder / "config.json", values.to_json(config) + "\n")


def flat(data, path: str = "") -> dict:
    """Nested JSON data as {"recipe.optimizer.rate": 0.1, ...}."""
    if isinstance(data, dict):
        items = [(f"{path}.{k}".lstrip("."), v) for k, v in data.items()]
        return {k: v for p, d in items for k, v in flat(d, p).items()}
    return {path: tuple(map(str, data)) if isinstance(data, list) else data}
