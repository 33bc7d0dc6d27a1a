"""Devices, precision and XLA, chosen in one place and announced in one line."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
FIRST_BFLOAT16 = (8, 0)  # compute capability of Ampere


@dataclass(frozen=True)
class Compute:
    """How a run computes.

    Attributes:
        kind: "CPU" or "GPU".
        replicas: devices that share a batch. On a CPU they share its cores, too, and gain no time.
        precision: "float32", "bfloat16" or "float16".
        xla: whether the step is compiled.
        strategy: a `tf.distribute` strategy, or None on one device.
        why: one line for the log.
    """

    kind: str
    replicas: int
    precision: str
    xla: bool
    strategy: Any
    why: str

    @property
    def policy(self) -> str:
        """The Keras dtype policy."""
        return PRECISIONS[self.precision]

    def scope(self) -> AbstractContextManager:
        """Where variables are made."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def check_batch(self, size: int) -> None:
        """Raises ValueError for a batch that the replicas cannot share evenly."""
        if size % self.replicas:
            near = max(self.replicas, size // self.replicas * self.replicas)
            raise ValueError(
                f"the batch size must divide by {self.replicas} replicas; {size} came ({near} would do)"
            )


def choose(replicas: int | None, precision: str, xla: str, deterministic: bool) -> Compute:
    """Decides, sets up TensorFlow's devices accordingly and says why. Before anything else uses TensorFlow.

    Args:
        replicas: None means all visible GPUs, else 1. Without GPUs, N replicas are N logical CPU devices.
        precision: "auto", "float32", "bfloat16" or "float16".
        xla: "auto", "on" or "off".
        deterministic: equal command and seed, equal weights. Always so on a CPU.

    Raises:
        ValueError: more replicas than GPUs, or a combination that this version does not have.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    replicas = replicas or max(1, len(gpus))
    if gpus and replicas > len(gpus):
        raise ValueError(f"--replicas is at most the number of GPUs, {len(gpus)}; {replicas} came")
    precision, because = _precision(tf, gpus, replicas, precision)
    compiled, reason = _xla(gpus, replicas, xla)
    if deterministic or not gpus:
        tf.config.experimental.enable_op_determinism()
    kind = "GPU" if gpus else "CPU"
    why = (
        f"devices: {replicas} {kind}, precision: {precision} ({because}), "
        f"XLA: {'on' if compiled else 'off'} ({reason})"
    )
    return Compute(kind, replicas, precision, compiled, _strategy(tf, gpus, replicas), why)


def _precision(tf, gpus, replicas: int, asked: str) -> tuple[str, str]:
    if asked == "float16" and replicas > 1:
        raise ValueError(
            "--precision float16 with several replicas is not available in this version (bfloat16 is)"
        )
    if asked != "auto":
        return asked, "as asked"
    if not gpus:
        return "float32", "the default on CPUs"
    able = [tf.config.experimental.get_device_details(g).get("compute_capability", (0, 0)) for g in gpus]
    if min(able) >= FIRST_BFLOAT16:
        return "bfloat16", "the GPUs have it"
    return "float32", "the GPUs have no fast bfloat16"


def _xla(gpus, replicas: int, asked: str) -> tuple[bool, str]:
    if replicas > 1:
        if asked == "on":
            raise ValueError("--xla on with several replicas is not available in this version")
        return False, "not yet available with several replicas"
    if asked != "auto":
        return asked == "on", "as asked"
    return (True, "the default on GPUs") if gpus else (False, "slower on CPUs")


def _strategy(tf, gpus, replicas: int):
    if replicas == 1:
        return None  # no strategy at all: several Keras features fail even under one of a single device
    if not gpus:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    kind = "GPU" if gpus else "CPU"
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(replicas)])
