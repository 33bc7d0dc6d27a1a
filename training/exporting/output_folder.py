"""The folder of an export: written to a staging folder, which is renamed when it is complete."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.exporting.formats import FORMATS
from training.report.folder import replace_folder, sha256, sync
from training.run_folder.claim import FolderKind, check_folder
from training.run_folder.lock import FILES, Lock

RECORD, LABELS, CARD = "export.json", "labels.txt", "card.md"
EXPORT = FolderKind("--out", "an export's", allowed=(*FORMATS, RECORD, LABELS, CARD))


def check(out: Path) -> None:
    """Raises ValueError unless `out` is new, empty or an earlier export."""
    check_folder(out, EXPORT)


@contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out` to write to; it replaces `out` when the block ends.

    An error removes it; a kill leaves it, and the next export to `out` removes it.

    Raises:
        ValueError: it cannot be written, or another process is exporting to `out`.
    """
    out = Path(out).absolute()
    hidden, old = (out.with_name(f".{out.name}.{kind}") for kind in ("unfinished", "old"))
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        lock = Lock(hidden, f"another export to {out} is running ({{holder}}); give another --out")
    except OSError as error:
        raise ValueError(f"--out {str(out)!r} cannot be written: {error.strerror or error}") from None
    with lock:
        if old.exists() and not out.exists():  # killed between the two renames
            os.rename(old, out)
        for rest in hidden.iterdir():
            if rest.name not in FILES:
                remove(rest)
        try:
            yield hidden
            for path in hidden.rglob("*"):
                if path.is_file():
                    sync(path)
            for name in FILES:
                (hidden / name).unlink(missing_ok=True)
            replace_folder(hidden, out, old)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def earlier_files(out: Path, weights_sha256: str) -> dict[str, dict]:
    """The records, by file, of the files in `out` that an earlier export made of the same weights."""
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
        files = record["files"] if record["weights_sha256"] == weights_sha256 else {}
        return {name: files[name] for name in files if name in FORMATS and (out / name).exists()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def sizes_and_hashes(path: Path) -> tuple[int, dict[str, str]]:
    """Bytes, and the sha256 of every file, by path from the export's folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    hashes = {p.relative_to(path.parent).as_posix(): sha256(p) for p in files}
    return sum(p.stat().st_size for p in files), hashes


def remove(path: Path) -> None:
    """Removes a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
