"""An export's folder: filled out of sight, then put in its place whole."""

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
    """A hidden folder beside `out` to fill; it takes the place of `out` when the block ends.

    An error leaves nothing; a kill leaves the hidden folder, which the next export to `out` clears away.

    Raises:
        ValueError: it cannot be written, or another process is exporting to `out`.
    """
    out = Path(out).absolute()
    hidden, old = (out.with_name(f".{out.name}.{kind}") for kind in ("unfinished", "old"))
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        lock = Lock(hidden, f"another export to {out} is at work ({{holder}}); give another --out")
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
            _settle(hidden)
            for name in FILES:
                (hidden / name).unlink(missing_ok=True)
            replace_folder(hidden, out, old)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def earlier(out: Path, weights_sha256: str) -> dict[str, dict]:
    """The records of files that an earlier export of the same weights has left in `out`, by file."""
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
        files = record["files"] if record["weights_sha256"] == weights_sha256 else {}
        return {name: files[name] for name in files if name in FORMATS and (out / name).exists()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def keep(out: Path, hidden: Path, name: str) -> None:
    """Copies a file of an earlier export."""
    if (out / name).is_dir():
        shutil.copytree(out / name, hidden / name)
    else:
        shutil.copy2(out / name, hidden / name)


def sizes_and_hashes(path: Path) -> tuple[int, dict[str, str]]:
    """Bytes, and the sha256 of every file, by path from the export's folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    hashes = {p.relative_to(path.parent).as_posix(): sha256(p) for p in files}
    return sum(p.stat().st_size for p in files), hashes


def _settle(folder: Path) -> None:
    """Has everything on the disk before the folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            sync(path)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
