"""Devices, precision and XLA, chosen in one place and announced in one line."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import lcm
from typing import Any

from training.data.pipeline import Shard
from training.engine.cluster import LONGEST, Communicator, Group, lost_peers

ALONE = Group()
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
FIRST_BFLOAT16 = (8, 0)  # compute capability of Ampere


@dataclass(frozen=True)
class Compute:
    """How a run computes.

    Attributes:
        kind: "CPU" or "GPU".
        replicas: devices that share a batch, on all machines. On a CPU they share its cores, too: no gain.
        precision: "float32", "bfloat16" or "float16".
        xla: whether the step is compiled.
        strategy: a `tf.distribute` strategy, or None on one device.
        why: one line for the log.
        wire: to the other processes that take part; None without others.
        norms: "own" statistics of every replica's share of a batch, or those of the whole, "synchronised".
    """

    kind: str
    replicas: int
    precision: str
    xla: bool
    strategy: Any
    why: str
    wire: Communicator | None = None
    norms: str = "own"

    @property
    def group(self) -> Group:
        """The processes that take part."""
        return ALONE if self.wire is None else self.wire.group

    @property
    def policy(self) -> str:
        """The Keras dtype policy."""
        return PRECISIONS[self.precision]

    def scope(self) -> AbstractContextManager:
        """Where variables are made."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def peers(self) -> AbstractContextManager:
        """Inside, the death of another worker is a Failure."""
        return nullcontext() if self.wire is None else lost_peers()

    @property
    def shard(self) -> Shard:
        """Which images of every batch this process takes."""
        return Shard(self.group.index, self.group.count)

    def feed(self, batches, size: int, endless: bool = False):
        """This process' batches as `fit` takes them; `size` is that of a whole batch, over all replicas.

        Training is `endless`: `fit` leaves it after its steps, and the workers need not ask each other before
        every step whether all have one more.
        """
        if self.group.alone:
            return batches
        if self.replicas > self.group.count:
            batches = batches.rebatch(size // self.replicas)
        batches = batches.repeat() if endless else batches
        return self.strategy.distribute_datasets_from_function(lambda context: batches)

    def check_batch(self, size: int, parts: int = 1, mixed: bool = False) -> None:
        """Raises ValueError for a batch that cannot be shared evenly.

        Args:
            parts: forward and backward passes of a replica in one step.
            mixed: images are mixed in pairs; a pair stays on one worker.
        """
        pairs = 2 * self.group.count if mixed and not self.group.alone else 1
        by = lcm(self.replicas * parts, pairs)
        if size % by:
            near = max(by, size // by * by)
            what = (
                f" parts ({self.replicas} replicas, {parts} passes, pairs)" if by > self.replicas else " replicas"
            )
            raise ValueError(f"the batch size must divide by {by}{what}; {size} came ({near} would do)")


def choose(
    replicas: int | None,
    precision: str,
    xla: str,
    deterministic: bool,
    group: Group = ALONE,
    norms: str = "own",
    patience: float = LONGEST,
) -> Compute:
    """Decides, sets up TensorFlow's devices accordingly and says why. Before anything else uses TensorFlow.

    Args:
        replicas: of this process. None means all visible GPUs, else 1. Without GPUs, N are N logical CPU devices.
        precision: "auto", "float32", "bfloat16" or "float16".
        xla: "auto", "on" or "off".
        deterministic: equal command and seed, equal weights. Always so on a CPU without XLA.
        group: the processes that take part; with several, waits until all have come.
        norms: batch statistics of every replica's "own" share, or "synchronised".
        patience: seconds without a step after which a worker of several gives up.

    Raises:
        ValueError: more replicas than GPUs, or a combination that cannot be.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    replicas = replicas or max(1, len(gpus))
    if gpus and replicas > len(gpus):
        raise ValueError(f"--replicas is at most the number of GPUs, {len(gpus)}; {replicas} came")
    if not gpus and replicas > 1 and not group.alone:
        raise ValueError(f"a worker without GPUs has one replica; --replicas {replicas} came")
    precision, because = _precision(tf, gpus, precision)
    compiled, reason = _xla(gpus, replicas * group.count, xla, norms)
    # With it XLA refuses the gradient of max-pooling, on CPUs too, so a compiled run has it only if asked.
    if deterministic or not (gpus or compiled):
        tf.config.experimental.enable_op_determinism()
    kind = "GPU" if gpus else "CPU"
    machines = "" if group.alone else f" on each of {group.count} workers"
    why = (
        f"devices: {replicas} {kind}{machines}, precision: {precision} ({because}), "
        f"XLA: {'on' if compiled else 'off'} ({reason})"
    )
    if norms == "synchronised":
        why += ", batch norm: synchronised"
    if gpus and not group.alone:
        tf.config.set_visible_devices(gpus[:replicas], "GPU")
    wire = None if group.alone else Communicator(group, patience)
    strategy = _mirrored(tf, gpus, replicas) if wire is None else wire.strategy
    return Compute(kind, replicas * group.count, precision, compiled, strategy, why, wire, norms)


def _precision(tf, gpus, asked: str) -> tuple[str, str]:
    if asked != "auto":
        return asked, "as asked"
    if not gpus:
        return "float32", "the default on CPUs"
    able = [tf.config.experimental.get_device_details(g).get("compute_capability", (0, 0)) for g in gpus]
    if min(able) >= FIRST_BFLOAT16:
        return "bfloat16", "the GPUs have it"
    return "float32", "the GPUs have no fast bfloat16"


def _xla(gpus, replicas: int, asked: str, norms: str) -> tuple[bool, str]:
    if norms == "synchronised" and replicas > 1:
        if asked == "on":
            raise ValueError("--xla on cannot compile --sync-bn, whose statistics cross replicas; leave out one")
        return False, "cannot compile synchronised batch norm"
    if asked != "auto":
        return asked == "on", "as asked"
    return (True, "the default on GPUs") if gpus else (False, "slower on CPUs")


def _mirrored(tf, gpus, replicas: int):
    if replicas == 1:
        return None  # no strategy at all: several Keras features fail even under one of a single device
    if not gpus:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    kind = "GPU" if gpus else "CPU"
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(replicas)])
