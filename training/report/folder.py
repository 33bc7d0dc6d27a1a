"""The files of a run folder: its name, files and folders written whole or not at all, history.csv and log.txt."""

import csv
import hashlib
import io
import itertools
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from training.report.stream import write

WHOLE = ("epoch", "step")
COLUMNS = ("epoch", "step", "loss", "top1", "val_loss", "val_top1", "rate", "images_per_second", "seconds")


def next_folder(root, arch: str, data: str) -> Path:
    """Creates and returns the next free `root/<arch>-<data>-<n>/`, n = 1, 2, ...

    Of a path only the last component is used. Two processes that start together get two folders.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    stem = f"{_safe(arch)}-{data_name(data)}"
    taken = [p.name.removeprefix(f"{stem}-") for p in root.iterdir() if p.name.startswith(f"{stem}-")]
    last = max((int(t) for t in taken if re.fullmatch("[0-9]{1,9}", t)), default=0)
    for n in itertools.count(last + 1):
        with suppress(FileExistsError):
            folder = root / f"{stem}-{n}"
            folder.mkdir()  # atomic: one of several processes succeeds
            return folder


def data_name(data: str) -> str:
    """The name of a data source for file names: `/photos/my cats/` -> `my_cats`."""
    last = re.split(r"[/\\]", str(data).rstrip("/\\"))[-1]
    if last in ("", ".", ".."):
        last = Path(data or ".").resolve().name
    return _safe(last)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", name).strip(".")[:80] or "data"


# --- files and folders, whole or not at all ---------------------------------------------------------------------


@contextmanager
def replace_when_complete(path, temporary: Path | None = None) -> Iterator[Path]:
    """A path beside `path` to write a file to: it replaces `path` when the block ends, or is removed on an error.

    By default it ends in the same suffix. It is in the same folder, since a rename is atomic only within a file
    system.
    """
    path = Path(path)
    temporary = temporary or path.with_name(f"unfinished-{path.name}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic(path):
    """A binary file to write; it replaces `path` when the block ends, and is removed when the block raises."""
    temporary = Path(path).with_name(f".{Path(path).name}.{secrets.token_hex(4)}.tmp")
    with replace_when_complete(path, temporary), open(temporary, "xb") as file:
        yield file


def replace_folder(new: Path, target: Path, aside: Path) -> None:
    """Puts a complete folder in the place of `target`, which is renamed to `aside` for that moment and removed."""
    shutil.rmtree(aside, ignore_errors=True)
    if target.exists():
        os.rename(target, aside)
    os.rename(new, target)
    sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def sync(path) -> None:
    """Returns when a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path) -> str:
    """Hash of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_csv(path, rows: Iterable[Iterable]) -> None:
    """Writes a table, header first, as CSV, whole or not at all."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    write_text(path, table.getvalue())


def write_text(path, text: str):
    """Writes a UTF-8 file, whole or not at all."""
    with atomic(path) as file:
        file.write(text.encode())


def write_json(path, obj):
    """Writes plain data and NumPy scalars as JSON, indented by 2, whole or not at all.

    Raises:
        ValueError: a number is not finite; JSON has no NaN. The message names its place.
    """
    if fault := _not_finite(obj):
        raise ValueError(f"{Path(path).name} must hold finite numbers: {fault}")
    write_text(path, json.dumps(obj, indent=2, allow_nan=False, default=_plain) + "\n")


def _plain(value):
    """A NumPy scalar as a Python number."""
    if getattr(value, "ndim", None) == 0:
        return value.item()
    raise TypeError(f"JSON holds numbers, text, lists and dictionaries, got {value!r}")


def _not_finite(value, place: str = "") -> str | None:
    """Place and value of the first number that is not finite, or None."""
    if isinstance(value, dict):
        inner = [(f"{place}.{k}".lstrip("."), v) for k, v in value.items()]
    elif isinstance(value, list | tuple):
        inner = [(f"{place}[{i}]", v) for i, v in enumerate(value)]
    else:
        number = value.item() if getattr(value, "ndim", None) == 0 else value
        return f"{place} is {number}" if isinstance(number, float) and not math.isfinite(number) else None
    return next((fault for p, v in inner if (fault := _not_finite(v, p))), None)


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown: the first column on the left, the others on the right."""
    head = list(head)
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


# --- history ----------------------------------------------------------------------------------------------------


class History:
    """The table `history.csv`: one row an epoch, read exactly as it was written.

    `rows` is a list of dictionaries: `epoch` (from 1) and `step` are int, the others float; the columns `val_...`
    are None, an empty cell, where the epoch was not validated. `seconds` is the time of the epoch.

    Raises:
        ValueError: a file with other columns, or with cells that are no numbers.
    """

    def __init__(self, path, columns: tuple[str, ...] = COLUMNS):
        self.path, self.columns = Path(path), columns
        self.rows = _read(self.path, columns) if self.path.exists() else []

    def append(self, row: dict):
        """Adds one epoch and writes the file. Validation may be missing or None.

        Raises:
            ValueError: an unknown or a missing column; an epoch that is not after the last.
        """
        surplus = sorted(set(row) - set(self.columns))
        if surplus:
            raise ValueError(f"no column {surplus[0]!r} in {self.path.name} (known: {', '.join(self.columns)})")
        missing = [c for c in self.columns if row.get(c) is None and not c.startswith("val_")]
        if missing:
            raise ValueError(f"a row of {self.path.name} needs {missing[0]!r}")
        row = {c: _number(c, row.get(c)) for c in self.columns}
        last = self.rows[-1]["epoch"] if self.rows else 0
        if row["epoch"] <= last:
            raise ValueError(
                f"epochs must count up from 1, got {row['epoch']} after {last} (truncate first to repeat)"
            )
        self.rows.append(row)
        self._write()

    def truncate(self, epoch: int):
        """Removes the rows after `epoch`, from which a run resumes; 0 removes all."""
        self.rows = [r for r in self.rows if r["epoch"] <= epoch]
        self._write()

    def _write(self):
        # The whole file: a row is short, epochs are few, and a crash leaves no half line.
        write_csv(self.path, [self.columns, *([row[c] for c in self.columns] for row in self.rows)])


def _number(column: str, value) -> int | float | None:
    if value is None or value == "":
        return None
    return int(value) if column in WHOLE else float(value)


def _read(path: Path, columns: tuple[str, ...]) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        header, *lines = list(csv.reader(file)) or [[]]
    if tuple(header) != columns:
        raise ValueError(f"{path} must have the columns {','.join(columns)}, got {','.join(header)!r}")
    try:
        return [{c: _number(c, v) for c, v in zip(columns, line, strict=True)} for line in lines]
    except ValueError as error:
        raise ValueError(f"{path} must hold {len(columns)} numbers a line: {error}") from None


# --- log --------------------------------------------------------------------------------------------------------


class Log(AbstractContextManager):
    """Writes lines to a stream and, with the time, to `log.txt`.

    When the stream is closed, only the file is written.

    Example:
        log = Log(folder / "log.txt", sys.stdout)
        log("precision: bfloat16, since the GPU has it")
    """

    def __init__(self, path, stream=None, now=time.localtime):
        self.stream = stream
        self.now = now
        self.file = open(path, "a", encoding="utf-8", errors="replace")  # noqa: SIM115 (open for the whole run)

    def __call__(self, text: str):
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", self.now())
        for line in str(text).splitlines() or [""]:
            self.file.write(f"{stamp}  {line}\n")
            if not write(self.stream, line + "\n"):
                self.stream = None
        self.file.flush()

    def close(self):
        """Closes the file. The stream is the caller's and stays open."""
        self.file.close()

    def __exit__(self, *error):
        self.close()
