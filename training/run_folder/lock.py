"""The lock of a folder: one process at a time holds it, until it ends or is killed."""

import errno
import os
import socket
from contextlib import AbstractContextManager
from pathlib import Path

import filelock

NAME = "lock"
HOLDER = "lock.holder"  # who holds it; beside the lock, since the locked file itself cannot be read on Windows
FILES = (NAME, HOLDER)
UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class Busy(ValueError):
    """Another process holds the folder."""


class Lock(AbstractContextManager):
    """Holds a folder until `close`, or until the process ends.

    The operating system holds the lock, on the open file, so the file of a killed process does no harm. On Linux
    it is the same lock as in version 0.1.0, which wrote the holder into the file itself. On a file system without
    locks every process gets the folder.

    Args:
        refusal: the message of `Busy`, with `{holder}` for the holder; by default that of a run's folder.

    Raises:
        Busy: another process holds the folder.
        OSError: the file cannot be written.
    """

    def __init__(self, folder: Path, refusal: str = ""):
        path = Path(folder) / NAME
        self.holder = path.with_name(HOLDER)
        self.lock = filelock.FileLock(path, thread_local=False, fallback_to_soft=False)
        try:
            self.lock.acquire(timeout=0)
        except filelock.Timeout:
            refusal = refusal or f"another run is at work in {path.parent.parent} ({{holder}}); give another --run"
            raise Busy(refusal.replace("{holder}", _holder(path))) from None
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
        self.holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")

    def __exit__(self, *error):
        self.close()

    def close(self) -> None:
        """Releases the folder."""
        if self.lock.is_locked:
            self.holder.unlink(missing_ok=True)
            self.lock.release()


def _holder(path: Path) -> str:
    """The holder by the file beside the lock, or by the lock itself (version 0.1.0)."""
    for file in (path.with_name(HOLDER), path):
        try:
            if text := file.read_text(encoding="utf-8").strip():
                return text
        except OSError:
            continue
    return "another process"
