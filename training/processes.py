"""What commands need of the operating system: signals, stderr, free ports."""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTE = b"\nfinishing the step, then saving; once more to stop at once\n"


class Terminated(BaseException):
    """SIGTERM was received."""


class Pending:
    """The first signal, if any, until `act` handles it."""

    def __init__(self):
        self.number = None

    def note(self, number, frame) -> None:
        """A signal handler: keeps the first signal; the second ends the process."""
        if self.number is not None:
            os._exit(128 + number)
        self.number = number
        with suppress(OSError):  # stderr is closed
            os.write(2, NOTE)

    def act(self) -> None:
        """Raises KeyboardInterrupt or Terminated if there was a signal."""
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.number == signal.SIGTERM:
            raise Terminated


@contextmanager
def deferred() -> Iterator[Pending]:
    """Defers signals: they only set the `Pending`, whose `act` the training loop calls between two steps."""
    pending = Pending()
    before = {number: signal.signal(number, pending.note) for number in SIGNALS}
    try:
        yield pending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def install() -> None:
    """Makes the first signal raise KeyboardInterrupt or Terminated, and the second end the process."""
    received = []

    def handle(number, frame):
        received.append(number)
        if len(received) > 1:
            os._exit(128 + number)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    for number in SIGNALS:
        signal.signal(number, handle)


@contextmanager
def silence_stderr(replay: bool = True) -> Iterator[None]:
    """Hides what is written to stderr, also by native code; with `replay` it is shown if the block raises."""
    own = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            if replay:
                hidden.seek(0)
                os.write(own, hidden.read())
            raise
        finally:
            os.dup2(own, 2)
            os.close(own)


def silence_native_stderr() -> None:
    """Hides what native code writes to stderr, until the process ends; `sys.stderr` still works."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3") in ("0", "1", "2"):
        return
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def report(text: str) -> None:
    """Prints a line on stderr, after the name of the command."""
    print(f"{os.path.basename(sys.argv[0])}: {text}", file=sys.stderr, flush=True)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that are free now."""
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]
