"""Several worker processes that train one network, on one machine or on several: addresses and messages.

All workers run the same code; collective operations wait until all have called them. Only worker 0, the chief, has
the run folder. The others work in a temporary folder and get the chief's checkpoints at the start.
"""

import faulthandler
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.errors import RunError, UsageError
from training.processes import report, silence_native_stderr

CHUNK = 2**24  # int32 numbers in one message: 64 MiB
RESTART = "start all workers again with the same command, and the run continues from its last checkpoint"


@dataclass(frozen=True)
class Group:
    """The workers of a run, as "host:port", and the index of this process. By default one process.

    Attributes:
        timeout: seconds without a step after which a worker ends.

    Raises:
        ValueError: an invalid address, equal addresses, or an index out of range.
    """

    workers: tuple[str, ...] = ()
    index: int = 0
    timeout: float = 600.0

    def __post_init__(self):
        for worker in self.workers:
            host, colon, port = worker.rpartition(":")
            if not (host and colon and port.isdigit() and 0 < int(port) < 65_536):
                raise ValueError(f"--workers must be host:port,host:port,..., got {worker!r}")
        if len(set(self.workers)) < len(self.workers):
            raise ValueError(f"--workers must all differ, got {','.join(self.workers)}")
        if not 0 <= self.index < self.count:
            raise ValueError(f"--worker-index must be from 0 to {self.count - 1}, got {self.index}")

    @property
    def count(self) -> int:
        """Number of processes."""
        return max(1, len(self.workers))

    @property
    def alone(self) -> bool:
        """Whether this is the only process."""
        return self.count == 1

    @property
    def chief(self) -> bool:
        """Whether this process writes the run folder."""
        return self.index == 0

    def strategy(self):
        """A `MultiWorkerMirroredStrategy`; waits until all workers are connected.

        Raises:
            ValueError: the port of this worker is in use.
        """
        import tensorflow as tf

        port = int(self.workers[self.index].rpartition(":")[2])
        try:
            socket.create_server(("", port)).close()
        except OSError as error:
            raise ValueError(f"worker {self.index} cannot use port {port}: {os.strerror(error.errno)}") from None
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(self.workers)}),
            task_type="worker",
            task_id=self.index,
            rpc_layer="grpc",
        )
        with lost_peers():
            return tf.distribute.MultiWorkerMirroredStrategy(resolver)


def group(workers: str | None, index: int | None, config: str | None) -> Group:
    """The group of `--workers` and `--worker-index`, or of the text of `TF_CONFIG`.

    Raises:
        ValueError: one option without the other, or an invalid value.
    """
    if workers is not None or index is not None:
        if workers is None or index is None:
            raise ValueError("--workers and --worker-index must be given together")
        return Group(tuple(worker.strip() for worker in workers.split(",")), index)
    if not config:
        return Group()
    try:
        found = json.loads(config)
        jobs, task = found.get("cluster", {}), found.get("task", {})
        kind, number = task.get("type", "worker"), int(task.get("index", 0))
        if not set(jobs) <= {"chief", "worker"} or kind not in ("chief", "worker"):
            raise ValueError(f"jobs must be chief and worker, got {', '.join(sorted({*jobs, kind}))}")
        chiefs = tuple(jobs.get("chief", ()))
        return Group((*chiefs, *jobs.get("worker", ())), number + (len(chiefs) if kind == "worker" else 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG is invalid: {error}") from None


@contextmanager
def lost_peers() -> Iterator[None]:
    """Turns the errors that the death of another worker causes into one RunError."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        raise RunError(f"another worker has ended: {RESTART}") from error
    except (tf.errors.InternalError, tf.errors.FailedPreconditionError, tf.errors.DeadlineExceededError) as error:
        if "ollective" not in str(error) and "oordination" not in str(error):
            raise
        raise RunError(f"another worker has ended: {RESTART}") from error


class Watchdog:
    """Ends this process with status 1 when `feed` is not called for some seconds: then another worker hangs.

    It is a thread, since the main one waits in a collective operation, which cannot be interrupted.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.fed, self.over = threading.Event(), False
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def feed(self) -> None:
        """Restarts the countdown."""
        self.fed.set()

    def stop(self) -> None:
        """Ends the thread."""
        self.over = True
        self.fed.set()
        self.thread.join()

    def _watch(self):
        while self.fed.wait(self.seconds):
            if self.over:
                return
            self.fed.clear()
        report(f"no step for {self.seconds:.0f} seconds: another worker hangs; {RESTART}")
        os._exit(1)


class Communicator:
    """Messages between the workers, by the strategy's all-reduce. All workers must make the same calls in order.

    Must be created before anything else uses TensorFlow; waits until all workers are connected.

    Attributes:
        strategy: a `MultiWorkerMirroredStrategy`.
    """

    def __init__(self, group: Group):
        self.group = group
        others = ", ".join(worker for i, worker in enumerate(group.workers) if i != group.index)
        print(f"worker {group.index} waits for {others}, {group.timeout:.0f} seconds at most", flush=True)
        silence_native_stderr()  # TensorFlow writes many lines when a worker dies
        # TensorFlow holds Python's global lock while it waits, so a Python thread could not end the process.
        with open(os.devnull, "w") as nowhere:
            faulthandler.dump_traceback_later(group.timeout, exit=True, file=nowhere)
            self.strategy = group.strategy()
            faulthandler.cancel_dump_traceback_later()
        self.watchdog = Watchdog(group.timeout)
        self.alive = self.watchdog.feed  # restarts its countdown

    def close(self) -> None:
        """Waits for the other workers, which treat a process that ends early as dead."""
        self.total([0])
        self.watchdog.stop()

    def total(self, numbers) -> np.ndarray:
        """Sum of int32 numbers over the workers."""
        import tensorflow as tf

        each = max(1, self.strategy.num_replicas_in_sync // self.group.count)

        def one(values):
            context = tf.distribute.get_replica_context()
            mine = tf.cast(tf.equal(context.replica_id_in_sync_group % each, 0), tf.int32)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, [values * mine])[0]

        with lost_peers():
            summed = tf.function(lambda values: self.strategy.run(one, args=(values,)))
            result = summed(tf.constant(np.asarray(numbers, np.int32)))
            self.alive()
            return np.asarray(self.strategy.experimental_local_results(result)[0])

    def gather(self, message: bytes) -> list[bytes]:
        """The short messages of all workers, in order."""
        lengths = np.zeros(self.group.count, np.int32)
        lengths[self.group.index] = len(message)
        lengths = self.total(lengths)
        board = np.zeros((self.group.count, lengths.max()), np.int32)
        board[self.group.index, : len(message)] = np.frombuffer(message, np.uint8)
        board = self.total(board).astype(np.uint8)
        return [row[:n].tobytes() for row, n in zip(board, lengths, strict=True)]

    def broadcast(self, message: bytes) -> bytes:
        """The chief's message, of any length; the argument of the others is ignored."""
        mine = message if self.group.chief else b""
        high, low = divmod(len(mine), 2**20)
        high, low = self.total([high, low]).tolist()
        length, parts = high * 2**20 + low, []
        for start in range(0, length, 4 * CHUNK):
            size = min(4 * CHUNK, length - start)
            numbers = np.zeros(-(-size // 4), np.int32)
            if self.group.chief:
                numbers.view(np.uint8)[:size] = np.frombuffer(mine[start : start + size], np.uint8)
            parts.append(self.total(numbers).view(np.uint8)[:size].tobytes())
        return b"".join(parts)

    def assert_equal_config(self, facts: dict) -> None:
        """Raises UsageError on all workers if they were started with different options."""
        received = [json.loads(text) for text in self.gather(json.dumps(facts, sort_keys=True).encode())]
        for index, other in enumerate(received):
            for key in sorted(set(received[0]) | set(other)):
                if received[0].get(key) != other.get(key):
                    raise UsageError(
                        f"all workers must be started alike, got {key} {received[0].get(key)!r} on the chief "
                        f"and {other.get(key)!r} on worker {index}"
                    )

    def broadcast_files(self, folder: Path) -> None:
        """Copies the chief's files in subfolders of `folder` to the `folder` of every other worker."""
        files = []
        if self.group.chief:
            found = sorted(p for p in folder.rglob("*") if p.is_file() and p.parent != folder)
            files = [(p, p.relative_to(folder).as_posix()) for p in found]
        listed = json.dumps([(name, path.stat().st_size) for path, name in files]).encode()
        for name, size in json.loads(self.broadcast(listed)):
            content = (folder / name).read_bytes() if self.group.chief else b""
            content = self.broadcast(content)
            if not self.group.chief:
                if len(content) != size or ".." in Path(name).parts:
                    raise RunError(f"received an incomplete {name} from the chief: {RESTART}")
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
