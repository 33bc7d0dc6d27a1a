"""SIGINT and SIGTERM: a second signal always ends the program at once; inside `deferred`, the first one waits."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTE = b"\nfinishing the step, then saving; once more to stop at once\n"


class Terminated(BaseException):
    """SIGTERM came."""


class Pending:
    """The first signal that came, waiting for a good moment."""

    def __init__(self):
        self.number = None

    def note(self, number, frame) -> None:
        """A signal handler: the first is kept, the second ends the process."""
        if self.number is not None:
            os._exit(128 + number)
        self.number = number
        with suppress(OSError):  # nobody listens
            os.write(2, NOTE)

    def act(self) -> None:
        """Raises KeyboardInterrupt or Terminated if a signal has come."""
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.number == signal.SIGTERM:
            raise Terminated


@contextmanager
def deferred() -> Iterator[Pending]:
    """Inside, a signal is only noted; whoever is at work asks the `Pending` and acts between two steps."""
    pending = Pending()
    before = {number: signal.signal(number, pending.note) for number in SIGNALS}
    try:
        yield pending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def install() -> None:
    """From now on the first signal raises KeyboardInterrupt or Terminated, the second ends the process."""
    came = []

    def handle(number, frame):
        came.append(number)
        if len(came) > 1:
            os._exit(128 + number)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    for number in SIGNALS:
        signal.signal(number, handle)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses now."""
    trials = [socket.socket() for _ in range(count)]
    try:
        for trial in trials:
            trial.bind(("127.0.0.1", 0))
        return [trial.getsockname()[1] for trial in trials]
    finally:
        for trial in trials:
            trial.close()
