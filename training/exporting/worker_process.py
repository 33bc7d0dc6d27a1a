"""A process that answers requests, both pickled over its standard input and output.

Run as a script, this file is the worker: python -P worker_process.py FILE ARGUMENT ...
FILE defines `start(*arguments)`, which returns a function from a request to its answer.
"""

import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]


class WorkerError(Exception):
    """The worker raised an exception, or its process ended; the text says which."""


class WorkerProcess:
    """A started worker; used in a `with`.

    Args:
        file: defines `start`.
        arguments: of `start`, as strings.
        environment: variables to set, over those of this process.
        package: makes this package importable in the worker.

    Raises:
        WorkerError: `start` failed.
    """

    def __init__(self, file: Path, *arguments, environment: dict[str, str] | None = None, package: bool = False):
        # JAX would otherwise reserve three quarters of an accelerator's memory.
        defaults = {"TF_CPP_MIN_LOG_LEVEL": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        variables = {**defaults, **os.environ, **(environment or {})}
        if package:
            variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-P", __file__, str(file), *map(str, arguments)]
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 (a pipe might fill; closed with the process)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr, env=variables
        )
        try:
            self._receive()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.stderr):
            with suppress(BrokenPipeError):  # a request that was not sent completely
                stream.close()

    def ask(self, request):
        """The answer to a request.

        Raises:
            WorkerError: the worker raised an exception, or its process ended.
        """
        with suppress(BrokenPipeError):  # the process has ended: `_receive` says why
            pickle.dump(request, self.process.stdin)
            self.process.stdin.flush()
        return self._receive()

    def _receive(self):
        try:
            succeeded, value = pickle.load(self.process.stdout)
        except (EOFError, pickle.UnpicklingError):
            status = self.process.wait()
            self.stderr.seek(0)
            last = self.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
            raise WorkerError(": ".join([f"its process ended with status {status}", *last])) from None
        if not succeeded:
            raise WorkerError(value)
        return value


def main() -> None:
    """The worker's side."""
    file, *arguments = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer

    def attempt(function, *arguments):
        try:
            return True, function(*arguments)
        except Exception as error:
            return False, " ".join(f"{type(error).__name__}: {error}".split())[:500]

    def send(succeeded: bool, value) -> None:
        pickle.dump((succeeded, value), answers)
        answers.flush()

    spec = importlib.util.spec_from_file_location("worker", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    started, answer = attempt(module.start, *arguments)
    send(started, None if started else answer)
    while started:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        send(*attempt(answer, request))


if __name__ == "__main__":
    main()
