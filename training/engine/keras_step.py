"""The training of `step.StepModel` by Keras' own `fit`, for engines other than TensorFlow."""

from collections.abc import Callable
from fnmatch import fnmatch

import keras
from keras import ops


class KerasStep(keras.Model):
    """A functional model that trains as a `StepModel` does, on any engine; gives logits.

    Loss, weights of training heads, decay, clipping and metrics are the same; so are the numbers, to rounding.
    Passes cannot be accumulated. Several devices of JAX compute one step together (`keras.distribution`), so batch
    norm takes its statistics over the whole batch.

    Attributes:
        loss_weights: of each output; the first output is the network's answer, others are training heads.
        preprocess: from the images of a batch to what the network takes; done on the device.
        xla: whether the step is compiled by XLA.
        data_wait_seconds: seconds that training has waited for input so far.
    """

    def __init__(
        self, inputs, outputs, loss_weights: tuple[float, ...] = (1.0,), preprocess: Callable | None = None
    ):
        super().__init__(inputs[0] if len(inputs) == 1 else inputs, outputs)  # torch warns of a list of one
        self.loss_weights = loss_weights
        self.preprocess = preprocess or (lambda images: images)
        self.counted = len(loss_weights)  # outputs
        self.data_wait_seconds = 0.0
        self.mean_loss = keras.metrics.Mean("loss")
        self.top1 = keras.metrics.SparseCategoricalAccuracy("top1")

    @property
    def metrics(self):
        return [self.mean_loss, self.top1]

    def compile(self, optimizer, loss, xla: bool = False):
        """`xla` compiles the step."""
        super().compile(optimizer, jit_compile=xla)
        self.loss, self.xla = loss, xla

    def call(self, inputs, training=None, mask=None):
        return super().call(self.preprocess(inputs), training=training, mask=mask)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        each = self._each(y, y_pred)
        if sample_weight is not None:
            each = each * ops.cast(sample_weight, each.dtype)
        return ops.mean(each) + sum(self.losses)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        right = y if len(y.shape) == 1 else ops.argmax(y, axis=-1)
        self.mean_loss.update_state(self._each(y, y_pred), sample_weight=sample_weight)
        self.top1.update_state(right, keras.tree.flatten(y_pred)[0], sample_weight=sample_weight)
        return self.get_metrics_result()

    def test_step(self, *given):
        """As Keras' own; training heads do not count in what is measured."""
        self.counted = 1
        try:
            return super().test_step(*given)
        finally:
            self.counted = len(self.loss_weights)

    def _each(self, labels, y_pred):
        """Loss of each image, (n,)."""
        outputs = keras.tree.flatten(y_pred)[: self.counted]
        return sum(
            s * self.loss.call(labels, ops.cast(o, "float32"))
            for s, o in zip(self.loss_weights, outputs, strict=False)
        )


def configure_optimizer(
    optimizer, model: keras.Model, decay: float, undecayed: tuple[str, ...], clip: float | None
) -> None:
    """Makes an optimizer clip the norm of all gradients together, then add decay times the weight, then update.

    Keras' `weight_decay` is another algorithm, which takes the decay past the momentum.
    """
    if not decay and clip is None:
        return
    apply, variables = optimizer.apply, model.trainable_variables

    def changed(gradients, trainable_variables=None):
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

    optimizer.apply = changed
