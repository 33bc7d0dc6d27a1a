"""Out of memory: the run stops, and names a batch size that fits."""

from collections.abc import Iterator
from contextlib import contextmanager

from training.engine.backends import backend
from training.engine.step import StepModel
from training.errors import RunError
from training.trainer.task import Task


@contextmanager
def suggest_batch_size(task: Task, model: StepModel) -> Iterator[None]:
    """Inside, running out of memory becomes a RunError that names a batch size; on TensorFlow it was tried."""
    try:
        yield
    except Exception as error:
        if not backend.is_oom(error):
            raise
        size, replicas = task.config.recipe.batch_size, task.compute.replicas
        if backend.can_probe_batch_size:
            fits = largest_fitting_batch(task, model)
            smaller = "no batch size fits: smaller images (--set image_size=N) may"
            way = f"--batch-size {fits} fits" if fits else smaller
        else:
            way = f"--batch-size {max(1, size // 2)} may fit"
        raise RunError(f"out of memory with batches of {size} on {replicas} devices; {way}") from error


def largest_fitting_batch(task: Task, model: StepModel) -> int | None:
    """The largest half, quarter, ... of a batch of which a forward and backward pass works; None if none does."""
    import tensorflow as tf

    passes = tf.function(lambda images, labels: model.gradients(images, labels, None)[0], autograph=False)
    replicas = task.compute.replicas
    share = task.config.recipe.batch_size // replicas // 2
    while share:
        try:
            passes(*task.example(share))
        except (tf.errors.ResourceExhaustedError, MemoryError):
            share //= 2
        else:
            return share * replicas
    return None
