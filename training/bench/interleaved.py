"""Competitors measured in turn, so that other load on the machine affects all of them alike."""

import math
import signal
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from training.bench.workload import Workload
from training.exporting.worker_process import WorkerError, WorkerProcess

WORKER = Path(__file__).with_name("worker.py")
ROUND_SECONDS = 3.0  # work of one round, where a unit is shorter
MAX_UNITS = 200
FLOPS = {"train": 6, "infer": 2, "fused": 2, "eager": 2, "predict": 2}  # per multiply-accumulate of inference


@dataclass
class Competitor:
    """One process and its measurements.

    Attributes:
        workload: what it measures.
        seconds: for one unit of work, round by round.
        peak_gb: largest resident memory.
        error: why it could not be measured, or "".
    """

    workload: Workload
    worker: WorkerProcess | None = None
    units: int = 1
    seconds: list[float] = field(default_factory=list)
    peak_gb: float = 0.0
    error: str = ""

    def start(self) -> None:
        """Starts the process and waits until it has warmed up."""
        try:
            self.worker = WorkerProcess(WORKER, self.workload.to_json(), package=True)
        except WorkerError as error:
            self._fail(error)

    def ask(self, request) -> float:
        """The worker's answer; NaN where it has failed.

        Between its rounds the process is stopped; otherwise it would prefetch while others are measured.
        """
        if self.error:
            return math.nan
        self.worker.process.send_signal(signal.SIGCONT)
        try:
            answer = self.worker.ask(request)
        except WorkerError as error:
            self._fail(error)
            return math.nan
        self.worker.process.send_signal(signal.SIGSTOP)
        return answer

    def _fail(self, error: WorkerError) -> None:
        kind, _, text = str(error).partition(": ")
        self.error = text if kind == "Unavailable" else f"failed: {error}"


def measure(workloads: list[Workload], rounds: int, say: Callable[[str], None]) -> list[Competitor]:
    """Starts one process for each workload, one after the other, then measures `rounds` rounds in turn.

    Every second round runs in reverse order, so that no competitor always follows the same other.
    """
    competitors = [Competitor(workload) for workload in workloads]
    try:
        for one in competitors:
            say(f"starting {one.workload.engine}, {one.workload.mode}")
            one.start()
        running = [c for c in competitors if not c.error]
        for one in running:
            seconds = one.ask(1)
            one.units = 1 if one.error else min(MAX_UNITS, max(1, round(ROUND_SECONDS / seconds)))
        for number in range(rounds):
            for one in running if number % 2 == 0 else reversed(running):
                one.seconds.append(one.ask(one.units) / one.units)
            say(f"round {number + 1} of {rounds}")
        for one in running:
            if not one.error:
                one.peak_gb = one.ask("peak_gb")
    finally:
        for one in competitors:
            if one.worker is not None:
                one.worker.close()
    return competitors


def median_range(values: list[float]) -> tuple[float, float, float]:
    """Median, smallest and largest of several rounds."""
    return statistics.median(values), min(values), max(values)


def speed_ratio(one: Competitor, other: Competitor) -> tuple[float, float, float]:
    """How much faster `one` is, from the rounds' own ratios, so that a slow minute of the machine cancels."""
    return median_range([b / a for a, b in zip(one.seconds, other.seconds, strict=True)])


def measure_peak_flops(workloads: list[Workload], say: Callable[[str], None]) -> dict[str, float]:
    """Precision -> floating-point operations a second of a large matrix product on this machine."""
    found = {}
    for precision in dict.fromkeys(w.precision for w in workloads):
        workload = replace(workloads[0], engine="ours", mode="matmul", precision=precision, xla=False)
        (one,) = measure([workload], 3, say)
        if not one.error:
            found[precision] = 2 * 2048**3 / min(one.seconds)
    return found
