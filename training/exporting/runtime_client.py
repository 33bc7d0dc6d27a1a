"""A file in the runtime that will run it, in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import keras_cnns

WORKER = Path(__file__).with_name("runtime_worker.py")
BATCH = 64


class Failed(Exception):
    """The runtime could not load or run the file; the message is its own."""


class Runtime:
    """A process that has loaded a file; to be used in a `with`.

    Args:
        name: a runtime that `worker.py` knows.
        path: of the file.
        threads: it may use.

    Raises:
        Failed: it cannot load the file.
    """

    def __init__(self, name: str, path: Path, threads: int):
        # The CPU alone: its numbers are the same on every machine, and latencies can be compared.
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "CUDA_VISIBLE_DEVICES": ""}
        if name == "reference":
            root = Path(keras_cnns.__file__).parents[1]
            environment["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-P", str(WORKER), name, str(path), str(threads)]
        self.complaints = tempfile.TemporaryFile()  # noqa: SIM115 (a pipe might fill; closed with the process)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.complaints, env=environment
        )
        try:
            self._answer()
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
        for stream in (self.process.stdin, self.process.stdout, self.complaints):
            with suppress(BrokenPipeError):  # what it was not sent any more
                stream.close()

    def call(self, signature: str, *arrays: np.ndarray) -> np.ndarray:
        """Probabilities (n, classes).

        Raises:
            Failed: the runtime gave an error, or died.
        """
        with suppress(BrokenPipeError):  # it has died: the answer says why
            self.process.stdin.write(json.dumps({"call": signature, "arrays": len(arrays)}).encode() + b"\n")
            for array in arrays:
                # NumPy asks real files for their position, which a pipe has not.
                to = SimpleNamespace(write=self.process.stdin.write)
                np.lib.format.write_array(to, np.ascontiguousarray(array), allow_pickle=False)
            self.process.stdin.flush()
        self._answer()
        return np.lib.format.read_array(SimpleNamespace(read=self.process.stdout.read), allow_pickle=False)

    def all(self, signature: str, images: np.ndarray, prepare=lambda batch: batch) -> np.ndarray:
        """Probabilities of many images, batch by batch; `prepare` is applied to each batch before it is sent."""
        parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
        return np.concatenate([self.call(signature, prepare(part)) for part in parts])

    def seconds(self, times: int) -> list[float]:
        """How long it takes for the first image of the last call, `times` times."""
        self.process.stdin.write(json.dumps({"time": times}).encode() + b"\n")
        self.process.stdin.flush()
        return self._answer()["seconds"]

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.complaints.seek(0)
            last = self.complaints.read().decode(errors="replace").strip().splitlines() or [""]
            raise Failed(f"its process ended with status {self.process.returncode}: {last[-1]}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(" ".join(answer["error"].split())[:500])
        return answer
