"""The chief: KerasTuner's server with the oracle, and the local workers, which are restarted after a crash."""

import os
import shutil
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
from training.search.worker import RESTART, WATCH

POLL_SECONDS = 0.5
MAX_CRASHES = 2  # crashes of workers in one trial, after which it has failed
MAX_IDLE_CRASHES = 5  # consecutive crashes of workers without a trial
GRACE = 60.0  # seconds for workers to save and end
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
        raise ValueError(f"{', '.join(VARIABLES)} must be set together, got no {missing}")
    return "chief" if "chief" in os.environ["KERASTUNER_TUNER_ID"] else "worker"


class Chief(base_tuner.BaseTuner):
    """Serves workers by gRPC until the search ends. Not authenticated: for this machine or a private network."""

    def __init__(self, root: Path, oracle):
        shutil.rmtree(root / folders.ORACLE, ignore_errors=True)  # made again from the folders of trials
        super().__init__(oracle, directory=str(root), project_name=folders.ORACLE)
        self.fault: Exception | None = None
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        """Answers the workers; an error becomes `fault`."""
        try:
            self.search(verbose=0)
        except Exception as error:  # the address is not available; workers would wait for an hour
            self.fault = error

    def serves(self) -> bool:
        """Whether the search continues: until all workers have the message that no trial is left."""
        return self.thread.is_alive()


class Workers:
    """The local workers. `command` starts one; `say` takes a line about a crash."""

    def __init__(self, root: Path, count: int, command: list[str], chief: Chief, say: Callable[[str], None]):
        self.root, self.command, self.chief, self.say = root, command, chief, say
        self.crashes, self.idle_crashes = Counter(), 0
        (root / "workers").mkdir(exist_ok=True)
        self.gpus = _gpus()
        self.threads = max(1, (os.cpu_count() or 1) // max(1, count))
        self.running = {name: self._start(name) for name in (f"local{i}" for i in range(count))}

    def _start(self, name: str) -> subprocess.Popen:
        known = {"KERASTUNER_TUNER_ID": name, WATCH: "1", "GRPC_VERBOSITY": "ERROR"}
        known |= {k: os.environ.get(k, str(self.threads)) for k in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")}
        near = os.environ.get("no_proxy", "")
        known["no_proxy"] = ",".join(filter(None, (near, os.environ["KERASTUNER_ORACLE_IP"])))
        if self.gpus:
            known["CUDA_VISIBLE_DEVICES"] = self.gpus[int(name.removeprefix("local")) % len(self.gpus)]
        with open(self.root / "workers" / f"{name}.log", "ab") as log:
            return subprocess.Popen(
                self.command,
                env={**os.environ, **known},
                stdin=subprocess.PIPE,  # closes when this process ends, however it ends
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the chief only
            )

    def look(self) -> bool:
        """Whether some still run. Restarts crashed ones; a trial that crashes again has failed.

        Raises:
            RunError: the chief cannot serve, or a worker has an error that a restart does not solve.
        """
        if self.chief.fault:
            address = ":".join(os.environ[name] for name in VARIABLES[1:])
            raise RunError(f"the chief cannot serve at {address}: {self.chief.fault}")
        for name, process in list(self.running.items()):
            if (status := process.poll()) is None:
                continue
            process.stdin.close()
            if status == 0 or not self.chief.serves():
                del self.running[name]
                continue
            if status in (1, 2):
                raise RunError(f"{name}: {self._last_line(name)}")
            if status != RESTART:
                self._count_crash(name, status)
            self.running[name] = self._start(name)
        return bool(self.running)

    def _count_crash(self, name: str, status: int) -> None:
        record = self.chief.oracle.ongoing_trials.get(name)
        if record is None:
            self.idle_crashes += 1
            if self.idle_crashes >= MAX_IDLE_CRASHES:
                times = f"{MAX_IDLE_CRASHES} times before it had a trial"
                raise RunError(f"{name} crashed {times}: {self._last_line(name)}")
            return
        self.idle_crashes, number = 0, int(record.trial_id)
        self.crashes[number] += 1
        how = f"signal {-status}" if status < 0 else f"status {status}"
        self.say(f"{name} crashed in trial {number} ({how}); another worker continues it")
        if self.crashes[number] >= MAX_CRASHES:
            why = f"its process crashed {MAX_CRASHES} times ({how}): out of memory?"
            folders.fail(folders.place(self.root, number), why)
            record.status, record.message = "FAILED", why
            self.chief.oracle.end_trial(record)

    def _last_line(self, name: str) -> str:
        text = (self.root / "workers" / f"{name}.log").read_text(encoding="utf-8", errors="replace").strip()
        return text.splitlines()[-1] if text else "it wrote nothing"

    def stop(self) -> None:
        """Signals all to save and end, waits, and kills those that do not. Signals to an ended one do nothing."""
        for process in self.running.values():
            process.terminate()
        until = time.monotonic() + GRACE
        try:
            while any(process.poll() is None for process in self.running.values()) and time.monotonic() < until:
                time.sleep(0.1)
        finally:
            for process in self.running.values():
                process.kill()
                process.stdin.close()


@contextmanager
def stopping(workers: Workers):
    """Ends the workers when the block ends by an error or a signal; they save first."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | Terminated):
            print("saving the trials, then stopping; once more to stop at once", file=sys.stderr, flush=True)
        workers.stop()
        raise


def _gpus() -> list[str]:
    """Names of the GPUs for the workers."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    import tensorflow as tf

    return [str(i) for i, _ in enumerate(tf.config.list_physical_devices("GPU"))]
