"""Contestants measured in turn, so that what disturbs the machine disturbs all of them alike."""

import contextlib
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import IO

from training.bench.task import Task

ROUND_SECONDS = 3.0  # work of one round, if a unit is shorter
MOST_UNITS = 200
FLOPS = {"train": 6, "infer": 2, "fused": 2, "eager": 2, "predict": 2}  # per multiply-accumulate of inference


@dataclass
class Competitor:
    """One process, and what it has done so far.

    Attributes:
        task: what it measures.
        process, complaints: the process, and the file that its standard error goes to (a pipe might fill).
        seconds: for one unit of work, round by round.
        peak_gb: largest resident memory.
        excuse: why it does not take part, if it does not.
    """

    task: Task
    process: subprocess.Popen | None = None
    complaints: IO | None = None
    units: int = 1
    seconds: list[float] = field(default_factory=list)
    peak_gb: float = 0.0
    excuse: str = ""

    @property
    def rates(self) -> list[float]:
        """Images a second, round by round."""
        return [self.task.batch / s for s in self.seconds]


def compete(tasks: list[Task], rounds: int, say: Callable[[str], None]) -> list[Competitor]:
    """Starts a process a task, one after the other, then takes `rounds` rounds in turn.

    The order of a round is turned round each time, so that nobody always comes after the same other.
    """
    contestants = [Competitor(task) for task in tasks]
    try:
        for one in contestants:
            say(f"starting {one.task.engine}, {one.task.mode}")
            start(one)
        running = [c for c in contestants if not c.excuse]
        for one in running:
            seconds = ask(one, 1)
            one.units = 1 if one.excuse else min(MOST_UNITS, max(1, round(ROUND_SECONDS / seconds)))
        for number in range(rounds):
            for one in running if number % 2 == 0 else reversed(running):
                one.seconds.append(ask(one, one.units) / one.units)
            say(f"round {number + 1} of {rounds}")
        for one in running:
            if not one.excuse:
                one.process.send_signal(signal.SIGCONT)
                one.process.stdin.close()
                one.peak_gb = answer(one)["peak_gb"]
    finally:
        for one in contestants:
            if one.process is not None:
                with one.complaints, one.process:
                    one.process.kill()
    return contestants


def start(one: Competitor) -> None:
    """Its process, up to the end of its warm-up."""
    command = [sys.executable, "-m", "training.bench.worker", one.task.to_json()]
    # JAX would take three quarters of an accelerator's memory from the others.
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    one.complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed with the process
    one.process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=one.complaints, text=True, env=environment
    )
    told = answer(one)
    one.excuse = told.get("unavailable", "")


def ask(one: Competitor, units: int) -> float:
    """Seconds for so many units of work; not a number from a process that is dead.

    Between its rounds a contestant is frozen, or it would read ahead while others are measured.
    """
    if one.excuse:
        return math.nan
    one.process.send_signal(signal.SIGCONT)
    with contextlib.suppress(BrokenPipeError):  # then there is no answer either
        one.process.stdin.write(f"{units}\n")
        one.process.stdin.flush()
    seconds = answer(one).get("seconds", math.nan)
    one.process.send_signal(signal.SIGSTOP)
    return seconds


def answer(one: Competitor) -> dict:
    line = one.process.stdout.readline()
    if not line:
        one.process.wait()
        one.complaints.seek(0)
        last = (one.complaints.read().strip().splitlines() or [f"status {one.process.returncode}"])[-1]
        one.excuse = f"failed: {last}"
        return {"unavailable": one.excuse}
    return json.loads(line)


# --- figures ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """Median, least and most of several rounds."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(values: list[float]) -> "Spread":
        """From the rounds' values."""
        return Spread(statistics.median(values), min(values), max(values))


def ratio(one: Competitor, other: Competitor) -> Spread:
    """How much faster `one` is, from the rounds' own ratios, in which a slow minute of the machine cancels."""
    return Spread.of([b / a for a, b in zip(one.seconds, other.seconds, strict=True)])


def peaks(tasks: list[Task], say: Callable[[str], None]) -> dict[str, float]:
    """Precision -> floating-point operations a second of a large matrix product on this machine."""
    found = {}
    for precision in dict.fromkeys(t.precision for t in tasks):
        task = replace(tasks[0], engine="ours", mode="matmul", precision=precision, xla=False)
        (one,) = compete([task], 3, say)
        if not one.excuse:
            found[precision] = 2 * 2048**3 / min(one.seconds)
    return found
