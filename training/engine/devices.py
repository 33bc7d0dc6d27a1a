"""Chooses devices, precision and XLA, and says so in one line."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import lcm
from typing import Any

from training.data.pipeline import Shard
from training.engine.cluster import Communicator, Group, lost_peers

ALONE = Group()
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
FIRST_BFLOAT16 = 8  # compute capability with fast bfloat16 (Ampere)


@dataclass(frozen=True)
class Compute:
    """How a run computes.

    Attributes:
        kind: "CPU" or "GPU".
        replicas: devices that share a batch, on all machines. On a CPU they also share its cores and gain nothing.
        precision: "float32", "bfloat16" or "float16".
        xla: whether XLA compiles the step.
        strategy: a `tf.distribute` strategy, or None on one device.
        why: one line for the log.
        communicator: with the other workers; None without others.
        norms: batch statistics of every replica's "own" images, or "synchronised", of the whole batch.
    """

    kind: str
    replicas: int
    precision: str
    xla: bool
    strategy: Any
    why: str
    communicator: Communicator | None = None
    norms: str = "own"

    @property
    def group(self) -> Group:
        """The workers of this run."""
        return ALONE if self.communicator is None else self.communicator.group

    @property
    def policy(self) -> str:
        """The Keras dtype policy."""
        return PRECISIONS[self.precision]

    def scope(self) -> AbstractContextManager:
        """The context in which variables are created."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def peers(self) -> AbstractContextManager:
        """Turns the death of another worker into a RunError."""
        return nullcontext() if self.communicator is None else lost_peers()

    @property
    def shard(self) -> Shard:
        """The images of every batch that this process takes."""
        return Shard(self.group.index, self.group.count)

    def feed(self, batches, size: int, endless: bool = False):
        """The batches of this process as `fit` takes them; `size` is the batch size over all replicas.

        An `endless` stream saves the workers a message before every step, whether all have one more batch;
        `fit` ends after its number of steps.
        """
        if self.group.alone:
            return batches
        if self.replicas > self.group.count:
            batches = batches.rebatch(size // self.replicas)
        batches = batches.repeat() if endless else batches
        return self.strategy.distribute_datasets_from_function(lambda context: batches)

    def check_batch(self, size: int, parts: int = 1, mixed: bool = False) -> None:
        """Raises ValueError for a batch size that cannot be divided evenly.

        Args:
            parts: forward and backward passes per replica and step.
            mixed: images are mixed in pairs, and both images of a pair must be on one worker.
        """
        pairs = 2 * self.group.count if mixed and not self.group.alone else 1
        by = lcm(self.replicas * parts, pairs)
        if size % by:
            near = max(by, size // by * by)
            what = f"parts ({self.replicas} replicas, {parts} passes, pairs)" if by > self.replicas else "replicas"
            raise ValueError(f"the batch size must be divisible by {by} {what}, got {size}; try {near}")


def choose(
    replicas: int | None, precision: str, xla: str, deterministic: bool, group: Group = ALONE, norms: str = "own"
) -> Compute:
    """Chooses, and sets up TensorFlow's devices. Must be called before anything else uses TensorFlow.

    Args:
        replicas: of this process. None is all visible GPUs, or 1. Without GPUs, N is N logical CPU devices.
        precision: "auto", "float32", "bfloat16" or "float16".
        xla: "auto", "on" or "off".
        deterministic: equal weights from equal command and seed. Always on with a CPU without XLA.
        group: the workers; if there are several, waits until all are connected.
        norms: see `Compute`.

    Raises:
        ValueError: more replicas than GPUs, or an impossible combination.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    replicas = replicas or max(1, len(gpus))
    if gpus and replicas > len(gpus):
        raise ValueError(f"--replicas must be at most the number of GPUs, {len(gpus)}, got {replicas}")
    if not gpus and replicas > 1 and not group.alone:
        raise ValueError(f"--replicas must be 1 on a worker without GPUs, got {replicas}")
    details = map(tf.config.experimental.get_device_details, gpus)
    precision, reason = choose_precision(precision, [d.get("compute_capability", (0, 0))[0] for d in details])
    compiled, xla_reason = _xla(gpus, replicas * group.count, xla, norms)
    # With determinism XLA cannot compile the gradient of max-pooling, even on CPUs, so with XLA it is on request.
    if deterministic or not (gpus or compiled):
        tf.config.experimental.enable_op_determinism()
    kind = "GPU" if gpus else "CPU"
    machines = "" if group.alone else f" on each of {group.count} workers"
    why = (
        f"devices: {replicas} {kind}{machines}, precision: {precision} ({reason}), "
        f"XLA: {'on' if compiled else 'off'} ({xla_reason})"
    )
    if norms == "synchronised":
        why += ", batch norm: synchronised"
    if gpus and not group.alone:
        tf.config.set_visible_devices(gpus[:replicas], "GPU")
    communicator = None if group.alone else Communicator(group)
    strategy = _mirrored(tf, kind, replicas) if communicator is None else communicator.strategy
    return Compute(kind, replicas * group.count, precision, compiled, strategy, why, communicator, norms)


def choose_precision(asked: str, capabilities: list[int]) -> tuple[str, str]:
    """(precision, reason), by the major compute capabilities of the GPUs; on a CPU there are none."""
    if asked != "auto":
        return asked, "as asked"
    if not capabilities:
        return "float32", "the default on CPUs"
    if min(capabilities) >= FIRST_BFLOAT16:
        return "bfloat16", "the GPUs have it"
    return "float32", "the GPUs have no fast bfloat16"


def _xla(gpus, replicas: int, asked: str, norms: str) -> tuple[bool, str]:
    if norms == "synchronised" and replicas > 1:
        if asked == "on":
            raise ValueError("--xla on cannot compile --sync-bn; leave one out")
        return False, "cannot compile synchronised batch norm"
    if asked != "auto":
        return asked == "on", "as asked"
    return (True, "the default on GPUs") if gpus else (False, "slower on CPUs")


def _mirrored(tf, kind: str, replicas: int):
    if replicas == 1:
        return None  # several features of Keras fail under any strategy, even one of a single device
    if kind == "CPU":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(replicas)])
