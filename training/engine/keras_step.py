"""Training by Keras' own `fit`, for JAX and torch: the model, its optimizer and its batches."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatch

import keras
import numpy as np
from keras import ops

BUFFER = 4  # batches that are made in advance


class KerasStep(keras.Model):
    """A functional model that trains as a `StepModel` does, on any backend; gives logits.

    Loss, weights of training heads, decay, clipping and metrics are the same; so are the numbers, up to rounding.
    It cannot accumulate gradients. Several devices of JAX compute one step together (`keras.distribution`), so
    batch norm takes its statistics over the whole batch.

    Attributes:
        loss_weights: of each output; the first output has the logits, others are training heads.
        preprocess: from the images of a batch to the input of the network; runs on the device.
        xla: whether XLA compiles the step.
        data_wait_seconds: seconds that training has waited for input so far.
    """

    def __init__(
        self, inputs, outputs, loss_weights: tuple[float, ...] = (1.0,), preprocess: Callable | None = None
    ):
        super().__init__(inputs[0] if len(inputs) == 1 else inputs, outputs)  # torch warns of a list of one
        self.loss_weights = loss_weights
        self.preprocess = preprocess or (lambda images: images)
        self.counted = len(loss_weights)  # outputs in the loss
        self.data_wait_seconds = 0.0
        self.mean_loss = keras.metrics.Mean("loss")
        self.top1 = keras.metrics.SparseCategoricalAccuracy("top1")

    @property
    def metrics(self):
        return [self.mean_loss, self.top1]

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
        labels = y if len(y.shape) == 1 else ops.argmax(y, axis=-1)
        self.mean_loss.update_state(self._loss_of_each(y, y_pred), sample_weight=sample_weight)
        self.top1.update_state(labels, keras.tree.flatten(y_pred)[0], sample_weight=sample_weight)
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
        return sum(
            w * self.loss.call(labels, ops.cast(o, "float32"))
            for w, o in zip(self.loss_weights, outputs, strict=False)
        )


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
        decayed = [not any(fnmatch(v.path, p) for p in undecayed) for v in variables]
        gradients = [
            g + ops.cast(decay, g.dtype) * v if yes else g
            for g, v, yes in zip(gradients, variables, decayed, strict=True)
        ]
        apply(gradients, trainable_variables)

    optimizer.apply = clip_decay_apply


def prefetch(batches, model) -> Iterator[tuple]:
    """The batches as NumPy arrays, made in a thread; adds the seconds of waiting to `model.data_wait_seconds`."""
    ready, over = queue.Queue(BUFFER), threading.Event()

    def work():
        try:
            for batch in batches:
                if not put(tuple(map(np.asarray, batch))):
                    return
            put(None)
        except BaseException as error:  # raised in the main thread, in place of the batch
            put(error)

    def put(item) -> bool:
        while not over.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            began = time.perf_counter()
            item = ready.get()
            model.data_wait_seconds += time.perf_counter() - began
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        over.set()
        thread.join()


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
