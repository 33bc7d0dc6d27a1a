"""`result.json` of a run folder, and files that replace older ones only when they are complete."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_when_complete(path: Path) -> Iterator[Path]:
    """A path of the same suffix to write to; it takes the place of `path` when the block ends well."""
    temporary = path.with_name(f"unfinished-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def finished_result(folder: Path) -> dict | None:
    """The result of a run that is done, or None."""
    path = folder / "result.json"
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(result, dict):
        raise ValueError(f"{path} cannot be read: it holds no result")
    return result if result.get("finished") else None
