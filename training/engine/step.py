"""The training step, as a model that `fit` drives."""

import time
from fnmatch import fnmatch

import keras


class StepModel(keras.Model):
    """A functional model with this project's training step; gives logits.

    Built on the tensors of a plain model, `StepModel(plain.inputs, logits)`, it shares that model's layers: what
    it learns is in the plain model. `compile(optimizer, loss)` as usual; metrics are the mean loss and top-1.
    Labels are integers (n,) or, where images are mixed or labels smoothed, probabilities (n, classes).

    The step has two halves. `gradients` is one replica's forward and backward pass; `train_step` sums the
    gradients over replicas and updates. Only the first half may ever be compiled under a strategy, because an
    all-reduce cannot be.

    Attributes:
        decay: L2 coefficient; decay times the weight is added to the gradient.
        undecayed: patterns of the paths of weights that are left out of it, as ("*/bias", "*/gamma").
        shares: weight of each output's loss; the first output is the network's answer, others are training heads.
        waited: seconds that training has waited for input so far.
    """

    def __init__(
        self,
        inputs,
        outputs,
        decay: float = 0.0,
        undecayed: tuple[str, ...] = (),
        shares: tuple[float, ...] = (1.0,),
    ):
        super().__init__(inputs, outputs)
        if len(shares) != len(self.outputs):
            raise ValueError(f"{len(self.outputs)} outputs need as many shares; {shares} came")
        self.decay = decay
        self.undecayed = undecayed
        self.shares = shares
        self.waited = 0.0
        self.mean_loss = keras.metrics.Mean("loss")
        self.top1 = keras.metrics.SparseCategoricalAccuracy("top1")

    @property
    def metrics(self):
        return [self.mean_loss, self.top1]

    def gradients(self, images, labels):
        """One replica's half: its share of the mean loss, logits, gradients of the weights."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            outputs = keras.tree.flatten(self(images, training=True))
            losses = [self.compute_loss(images, labels, logits) for logits in outputs]
            loss = sum(share * each for share, each in zip(self.shares, losses, strict=True))
            scaled = self.optimizer.scale_loss(loss)
        return loss, outputs[0], tape.gradient(scaled, self.trainable_variables)

    def train_step(self, data):
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        loss, logits, gradients = self.gradients(images, labels)
        gradients = self._decayed(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return self._measure(loss, labels, logits)

    def test_step(self, data):
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        logits = keras.tree.flatten(self(images, training=False))[0]
        return self._measure(self.compute_loss(images, labels, logits, training=False), labels, logits)

    def make_train_function(self, force=False):
        """Keras calls this once; taking the batch outside the graph lets the wait for it be measured."""
        import tensorflow as tf

        if self.train_function is not None and not force:
            return self.train_function
        strategy = self.distribute_strategy if self.distribute_strategy.num_replicas_in_sync > 1 else None

        def step(data):
            return self.train_step(data) if strategy is None else strategy.run(self.train_step, args=(data,))

        compiled = tf.function(step, jit_compile=self.jit_compile or None)

        def train(iterator):
            began = time.perf_counter()
            data = next(iterator)
            self.waited += time.perf_counter() - began
            compiled(data)
            return self.get_metrics_result()

        self.train_function = train
        return train

    def _decayed(self, gradients):
        if not self.decay:
            return gradients
        # Before the sum over replicas and under loss scaling: both factors must be in it, too.
        decay = self.optimizer.scale_loss(keras.ops.cast(self.decay / self._replicas, "float32"))
        return [
            g if any(fnmatch(v.path, p) for p in self.undecayed) else g + keras.ops.cast(decay, g.dtype) * v
            for g, v in zip(gradients, self.trainable_variables, strict=True)
        ]

    @property
    def _replicas(self) -> int:
        return self.distribute_strategy.num_replicas_in_sync

    def _measure(self, loss, labels, logits):
        # Keras' losses divide by the number of replicas; each replica's metric wants its own mean.
        self.mean_loss.update_state(loss * self._replicas, sample_weight=keras.ops.shape(labels)[0])
        right = labels if len(labels.shape) == 1 else keras.ops.argmax(labels, axis=-1)
        self.top1.update_state(right, logits)
        return self.get_metrics_result()


class SoftCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits with integer labels (n,) or with probabilities (n, classes)."""

    def call(self, y_true, y_pred):
        if len(y_true.shape) == 1:
            return keras.ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        return keras.ops.categorical_crossentropy(y_true, y_pred, from_logits=True)


def synchronise(model: keras.Model) -> None:
    """Makes all replicas hold the mean of their batch-norm statistics, which is also what is saved.

    After it, evaluation under the strategy is evaluation of the saved model.
    """
    for variable in model.non_trainable_variables:
        if getattr(variable, "synchronization", "auto") == "on_read":
            variable.assign(keras.ops.convert_to_numpy(variable))


def steps_done(model: keras.Model) -> int:
    """Updates so far."""
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))  # int() alone fails on a mirrored variable
