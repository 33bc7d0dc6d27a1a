"""Training by Keras' own `fit`, for JAX and torch: the model, its optimizer and its batches."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from keras import ops

from training.engine.step import TrainingModel, add_decay

BUFFER = 4  # batches that are made in advance


class KerasStep(TrainingModel):
    """The model that trains by Keras' `fit`, on any backend.

    Loss, weights of training heads, decay, clipping and metrics are those of `StepModel`; so are the numbers, up
    to rounding. It cannot accumulate gradients. Several devices of JAX compute one step together
    (`keras.distribution`), so batch norm takes its statistics over the whole batch.
    """

    def __init__(self, inputs, outputs, *options):
        inputs = inputs[0] if len(inputs) == 1 else inputs  # torch warns of a list of one
        super().__init__(inputs, outputs, *options)
        self.counted = len(self.loss_weights)  # outputs in the loss

    def compile(self, optimizer, loss, xla: bool = False):
        """With `xla` XLA compiles the step."""
        super().compile(optimizer, jit_compile=xla)
        self.loss, self.xla = loss, xla

    def call(self, inputs, training=None, mask=None):
        return super().call(self.preprocess(inputs), training=training, mask=mask)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        losses = self._loss_of_each(y, y_pred)
        if sample_weight is not None:
            losses = losses * ops.cast(sample_weight, losses.dtype)
        return ops.mean(losses) + sum(self.losses)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        logits = keras.tree.flatten(y_pred)[0]
        self.update_metrics(self._loss_of_each(y, y_pred), y, logits, sample_weight, counted=sample_weight)
        return self.get_metrics_result()

    def test_step(self, *given):
        """As Keras' own, without the training heads in the loss."""
        self.counted = 1
        try:
            return super().test_step(*given)
        finally:
            self.counted = len(self.loss_weights)

    def _loss_of_each(self, labels, y_pred):
        """Loss of each image, (n,)."""
        outputs = keras.tree.flatten(y_pred)[: self.counted]
        return sum(w * self.example_losses(labels, o) for w, o in zip(self.loss_weights, outputs, strict=False))


def configure_optimizer(
    optimizer, model: keras.Model, decay: float, undecayed: tuple[str, ...], clip: float | None
) -> None:
    """Makes an optimizer clip the norm of all gradients together, then add decay times the weight, then update.

    Keras' `weight_decay` is another algorithm: its decay bypasses the momentum.
    """
    if not decay and clip is None:
        return
    apply, variables = optimizer.apply, model.trainable_variables

    def clip_decay_apply(gradients, trainable_variables=None):
        gradients = [ops.zeros_like(v) if g is None else g for g, v in zip(gradients, variables, strict=True)]
        if clip is not None:
            norm = ops.sqrt(sum(ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients))
            gradients = [g * ops.cast(clip / ops.maximum(norm, clip), g.dtype) for g in gradients]
        apply(add_decay(gradients, variables, decay, undecayed), trainable_variables)

    optimizer.apply = clip_decay_apply


def prefetch(batches, model) -> Iterator[tuple]:
    """The batches as NumPy arrays, made in a thread; adds the seconds of waiting to `model.data_wait_seconds`."""
    stream, pool = iter(batches), ThreadPoolExecutor(1)

    def make():
        batch = next(stream, None)
        return batch and tuple(map(np.asarray, batch))

    ready = deque(pool.submit(make) for _ in range(BUFFER))
    try:
        while True:
            began = time.perf_counter()
            batch = ready.popleft().result()
            model.data_wait_seconds += time.perf_counter() - began
            if batch is None:
                return
            ready.append(pool.submit(make))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


class PaddedBatches(keras.utils.PyDataset):
    """Validation batches, each of `size` images: a short last one is padded with images of weight 0.

    So one shape is compiled, and all devices have equal shards. Can be read in order any number of times.
    """

    def __init__(self, batches, size: int):
        super().__init__()
        self.batches, self.size = batches, size

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, i: int):
        if i == 0:
            self.stream = iter(self.batches)
        images, labels = map(np.asarray, next(self.stream))
        weights = (np.arange(self.size) < len(labels)).astype(np.float32)
        rows = np.minimum(np.arange(self.size), len(labels) - 1)
        return images[rows], labels[rows], weights
