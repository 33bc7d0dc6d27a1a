"""An exported file, loaded by its runtime in a process of its own."""

from pathlib import Path

import numpy as np

from training.exporting.worker_process import WorkerProcess


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
