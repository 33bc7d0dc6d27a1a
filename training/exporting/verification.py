"""Verifies exported files: runs them and the trained network on the same images, each in its own process."""

import statistics
from functools import cached_property
from pathlib import Path

import numpy as np

from training.errors import RunError
from training.exporting.formats import Exportable, Format
from training.exporting.worker_process import WorkerError, WorkerProcess

ROUNDS, MAX_TIMES = 5, 10
ROUND_SECONDS = 2.0  # a round of a slow network has fewer runs


class Runtime(WorkerProcess):
    """A process that has loaded a file; used in a `with`.

    Args:
        name: a runtime of `runtime_worker.py`.
        path: the file.
        threads: CPU threads it may use.

    Raises:
        WorkerError: it cannot load the file.
    """

    def __init__(self, name: str, path: Path, threads: int):
        # On the CPU only: its numbers are the same on every machine, and latencies can be compared.
        environment = {"CUDA_VISIBLE_DEVICES": ""}
        worker = Path(__file__).with_name("runtime_worker.py")
        super().__init__(worker, name, path, threads, environment=environment, package=name == "keras_cnns")

    def run(self, signature: str, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name, each (n, ...).

        Raises:
            WorkerError: the runtime raised an exception, or crashed.
        """
        self.last = signature, [arrays[0][:1]]
        return self.ask((signature, arrays, 0))

    def run_batches(self, images: np.ndarray, batch: int, signature: str = "", preprocess=None):
        """`run` on many images, batch by batch; `preprocess` is applied to each batch."""
        parts = [images[i : i + batch] for i in range(0, len(images), batch)]
        outputs = [self.run(signature, preprocess(part) if preprocess else part) for part in parts]
        return {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}

    def time(self, times: int) -> list[float]:
        """Seconds of each of `times` runs on the first image of the last `run`."""
        signature, arrays = self.last
        return self.ask((signature, arrays, times))


class Verifier:
    """The trained network in its process, to compare files with; used in a `with`.

    Args:
        reference: a `.keras` file of the network as it was trained.
        threads: CPU threads of each process.
    """

    def __init__(self, model: Exportable, reference: Path, threads: int):
        self.model, self.threads = model, threads
        try:
            self.reference = Runtime("keras_cnns", reference, threads)
        except WorkerError as error:
            raise RunError(f"the network itself does not run: {error}") from error

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.reference.close()

    @cached_property
    def expected(self) -> dict[str, np.ndarray]:
        """The trained network's outputs on the samples."""
        return self.run_network(self.model.samples)

    def run_network(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The trained network's outputs."""
        preprocess = self.model.network.preprocessing
        try:
            return self.reference.run_batches(images, self.model.batch, preprocess=preprocess)
        except WorkerError as error:
            raise RunError(f"the network itself does not run: {error}") from error

    def verify(self, form: Format, path: Path) -> dict:
        """The figures of a file: those of `Exportable.compare`, and its latency.

        Raises:
            RunError: it cannot be run, or its outputs cannot be compared.
        """
        expected = self.expected
        try:
            with Runtime(form.runtime, path, self.threads) as runtime:
                outputs = self.model.run(form, runtime, self.run_network)
                if not all(np.isfinite(output).all() for output in outputs.values()):
                    raise RunError("its outputs are not finite")
                return self.model.compare(expected, outputs) | self._measure_latency(runtime)
        except WorkerError as error:
            raise RunError(f"it does not run in its runtime: {error}") from error

    def _measure_latency(self, runtime: Runtime) -> dict:
        """Latency of one image, of the file and of the Keras network; in turn, so that other load affects both.

        `latency_ms` and `keras_latency_ms` are medians of the rounds; `speed` is how many times faster the file
        is, the median of the rounds' own ratios.
        """
        both = (runtime, self.reference)
        slowest = max(one.time(2)[-1] for one in both)  # warms up, too
        times = max(1, min(MAX_TIMES, int(ROUND_SECONDS / slowest)))
        rounds = [[statistics.median(one.time(times)) for one in both] for _ in range(ROUNDS)]
        latency, keras_latency = (statistics.median(column) for column in zip(*rounds, strict=True))
        return {
            "latency_ms": 1000 * latency,
            "keras_latency_ms": 1000 * keras_latency,
            "speed": statistics.median(theirs / mine for mine, theirs in rounds),
            "threads": self.threads,
        }
