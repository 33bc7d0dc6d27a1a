"""The chief: KerasTuner's server with the oracle, and the local workers that it starts, and starts again."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from keras_tuner.engine import base_tuner

from training.errors import RunError
from training.processes import Terminated
from training.search import trials as folders
from training.search.worker import FRESH, WATCH

POLL_SECONDS = 0.5  # seconds between two looks
MAX_CRASHES = 2  # of workers at one trial, until it is the trial's fault
MAX_IDLE_CRASHES = 5  # deaths of workers that had no trial, in a row
GRACE = 60.0
VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


def role() -> str:
    """ "alone", or by KerasTuner's environment variables "chief" or "worker".

    Raises:
        ValueError: some of the variables are missing.
    """
    given = [name for name in VARIABLES if os.environ.get(name)]
    if not given:
        return "alone"
    if len(given) < len(VARIABLES):
        missing = next(name for name in VARIABLES if name not in given)
        raise ValueError(f"{', '.join(VARIABLES)} go together; {missing} is not set")
    return "chief" if "chief" in os.environ["KERASTUNER_TUNER_ID"] else "worker"


class Chief(base_tuner.BaseTuner):
    """Answers workers by gRPC until the search ends. Unauthenticated: this machine or a private network only."""

    def __init__(self, root: Path, oracle):
        shutil.rmtree(root / folders.ORACLE, ignore_errors=True)  # made again from the trials' folders
        super().__init__(oracle, directory=str(root), project_name=folders.ORACLE)

    def serve(self) -> None:
        """Starts the server; what goes wrong with it is its `fault`."""
        self.fault: Exception | None = None
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        try:
            self.search(verbose=0)
        except Exception as error:  # an address that cannot be had; workers would wait for an hour
            self.fault = error

    def serves(self) -> bool:
        """Until all workers have been told that there is no more."""
        return self.thread.is_alive()


class Workers:
    """The local workers.

    Args:
        root: folder of the search; count: how many; command: that starts one.
        chief: that serves them; its oracle knows who is at which trial.
        say: takes a line about one that died.
    """

    def __init__(self, root: Path, count: int, command: list[str], chief: Chief, say: Callable[[str], None]):
        self.root, self.command, self.chief, self.say = root, command, chief, say
        self.deaths, self.barren = Counter(), 0
        (root / "workers").mkdir(exist_ok=True)
        self.gpus = _gpus()
        self.threads = max(1, (os.cpu_count() or 1) // max(1, count))
        self.running = {name: self._start(name, i) for i, name in enumerate(f"local{i}" for i in range(count))}

    def _start(self, name: str, index: int) -> subprocess.Popen:
        known = {"KERASTUNER_TUNER_ID": name, WATCH: "1", "GRPC_VERBOSITY": "ERROR"}
        known |= {k: os.environ.get(k, str(self.threads)) for k in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")}
        near = os.environ.get("no_proxy", "")
        known["no_proxy"] = ",".join(filter(None, (near, os.environ["KERASTUNER_ORACLE_IP"])))
        if self.gpus:
            known["CUDA_VISIBLE_DEVICES"] = self.gpus[index % len(self.gpus)]
        with open(self.root / "workers" / f"{name}.log", "ab") as log:
            return subprocess.Popen(
                self.command,
                env={**os.environ, **known},
                stdin=subprocess.PIPE,  # closes when this process ends, however it ends
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C comes to the chief alone
            )

    def look(self) -> bool:
        """Whether some are still at work; those that died are started again, and a deadly trial is given up.

        Raises:
            Failure: the chief cannot serve, or a worker has met what no other could mend.
        """
        if self.chief.fault:
            address = ":".join(os.environ[name] for name in VARIABLES[1:])
            raise RunError(f"the chief cannot serve at {address}: {self.chief.fault}")
        for index, (name, process) in enumerate(list(self.running.items())):
            status = process.poll() if process else 0
            if status is None or process is None:
                continue
            process.stdin.close()
            if status == 0 or not self.chief.serves():
                self.running[name] = None
                continue
            if status in (1, 2):
                raise RunError(f"{name}: {self._last_words(name)}")
            if status != FRESH:
                self._blame(name, status)
            self.running[name] = self._start(name, index)
        return any(self.running.values())

    def _blame(self, name: str, status: int) -> None:
        record = self.chief.oracle.ongoing_trials.get(name)
        if record is None:
            self.barren += 1
            if self.barren >= MAX_IDLE_CRASHES:
                raise RunError(
                    f"{name} died {MAX_IDLE_CRASHES} times before it had a trial: {self._last_words(name)}"
                )
            return
        self.barren, number = 0, int(record.trial_id)
        self.deaths[number] += 1
        how = f"signal {-status}" if status < 0 else f"status {status}"
        self.say(f"{name} died at trial {number} ({how}); another goes on")
        if self.deaths[number] >= MAX_CRASHES:
            why = f"its process died {MAX_CRASHES} times ({how}): out of memory?"
            folders.fail(folders.place(self.root, number), why)
            record.status, record.message = "FAILED", why
            self.chief.oracle.end_trial(record)

    def _last_words(self, name: str) -> str:
        text = (self.root / "workers" / f"{name}.log").read_text(encoding="utf-8", errors="replace").strip()
        return text.splitlines()[-1] if text else "it said nothing"

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Tells all to save and end, waits, and ends those that do not."""
        every = [process for process in self.running.values() if process]
        left = [process for process in every if process.poll() is None]
        for process in left:
            process.send_signal(number)
        until = time.monotonic() + GRACE
        try:
            while any(process.poll() is None for process in left) and time.monotonic() < until:
                time.sleep(0.1)
        finally:
            for process in every:
                if process.poll() is None:
                    process.kill()
                process.stdin.close()


@contextmanager
def stopping(workers: Workers):
    """Whatever ends the block ends the workers; they save first."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        print("the trials save, then the search stops; once more to stop at once", file=sys.stderr, flush=True)
        workers.stop()
        raise
    except BaseException:
        workers.stop()
        raise


def _gpus() -> list[str]:
    """Names of the GPUs that this process may give to its workers."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None:
        return [name for name in asked.split(",") if name.strip() and name.strip() != "-1"]
    import tensorflow as tf

    return [str(i) for i, _ in enumerate(tf.config.list_physical_devices("GPU"))]
