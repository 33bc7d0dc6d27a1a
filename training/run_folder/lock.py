"""One process a run folder: a lock that the operating system takes back when its holder dies."""

import errno
import os
import socket
from pathlib import Path

NAME = "lock"
UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class Busy(ValueError):
    """Another process holds the folder."""


class Lock:
    """Holds a folder until `close`, or until the process ends in whatever way.

    `folder/lock` names the holder. A stale one is no obstacle: what counts is the lock on the open file.

    Args:
        refusal: what to say when another holds it, with `{holder}` for who; by default that of a run's folder.

    Raises:
        Busy: another process holds the folder.
        OSError: the file cannot be written.
    """

    def __init__(self, folder: Path, refusal: str = ""):
        path = Path(folder) / NAME
        self.file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (open as long as it is held)
        try:
            _seize(self.file)
        except BlockingIOError:
            self.file.seek(0)
            holder = self.file.read().strip() or "another process"
            self.file.close()
            refusal = refusal or f"another run is at work in {path.parent.parent} ({{holder}}); give another --run"
            raise Busy(refusal.replace("{holder}", holder)) from None
        self.file.truncate(0)
        self.file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self.file.flush()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self) -> None:
        """Lets the folder go."""
        self.file.close()


def _seize(file) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has no such locks: one must take care oneself
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError) or error.errno not in UNSUPPORTED:
            raise
