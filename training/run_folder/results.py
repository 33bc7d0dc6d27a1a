"""Reads `result.json` of a run folder."""

import json
from pathlib import Path


def finished_result(folder: Path) -> dict | None:
    """The result of a finished run, or None.

    Raises:
        ValueError: the file is damaged.
    """
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
