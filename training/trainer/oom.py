"""Out of memory: the run stops, and says which batch size would have fitted."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from training.engine.backends import backend
from training.errors import RunError


@contextmanager
def suggest_batch_size(model: keras.Model, batch_size: int, replicas: int) -> Iterator[None]:
    """Inside, running out of memory becomes a Failure that names a batch size; on TensorFlow it was tried."""
    try:
        yield
    except Exception as error:
        if not backend.is_oom(error):
            raise
        if backend.can_probe_batch_size:
            fits = largest_fitting_batch(model, batch_size, replicas)
            smaller = "no batch size fits: smaller images (--set image_size=N) may"
            way = f"--batch-size {fits} fits" if fits else smaller
        else:
            way = f"--batch-size {max(1, batch_size // 2)} may fit"
        raise RunError(f"out of memory with batches of {batch_size} on {replicas} devices; {way}") from error


def largest_fitting_batch(model: keras.Model, batch_size: int, replicas: int) -> int | None:
    """The largest half, quarter, ... of a batch of which a forward and backward pass works; None if none does."""
    import tensorflow as tf

    shape = tuple(64 if side is None else side for side in model.inputs[0].shape[1:])

    @tf.function
    def passes(images):
        with tf.GradientTape() as tape:
            total = sum(tf.reduce_sum(out) for out in keras.tree.flatten(model(images, training=True)))
        return tape.gradient(total, [v.value for v in model.trainable_variables])

    share = batch_size // replicas // 2
    while share:
        try:
            passes(tf.zeros((share, *shape)))
        except (tf.errors.ResourceExhaustedError, MemoryError):
            share //= 2
        else:
            return share * replicas
    return None
