"""The model that trains: `TrainingModel`, common to all backends, and `StepModel`, the step on TensorFlow."""

import time
from collections.abc import Callable
from fnmatch import fnmatch
from functools import partial

import keras

from training.engine import keras_private


class TrainingModel(keras.Model):
    """A functional model that gives logits, with the loss and the metrics of training on all backends.

    Metrics are the mean loss and top-1.

    Attributes:
        loss_weights: of each output; the first output has the logits, others are training heads.
        preprocess: from the images of a batch to the input of the network; runs on the device.
        xla: whether XLA compiles the step; set by `compile`.
        data_wait_seconds: seconds that training has waited for input so far.
    """

    def __init__(
        self, inputs, outputs, loss_weights: tuple[float, ...] = (1.0,), preprocess: Callable | None = None
    ):
        super().__init__(inputs, outputs)
        if len(loss_weights) != len(self.outputs):
            raise ValueError(f"{len(self.outputs)} outputs need as many loss_weights, got {loss_weights}")
        self.loss_weights = loss_weights
        self.preprocess = preprocess or (lambda images: images)
        self.data_wait_seconds = 0.0
        self.mean_loss = keras.metrics.Mean("loss")
        self.top1 = keras.metrics.SparseCategoricalAccuracy("top1")

    @property
    def metrics(self):
        return [self.mean_loss, self.top1]

    def example_losses(self, labels, logits):
        """Loss of each image, (n,)."""
        return keras.losses.get(self.loss).call(labels, keras.ops.cast(logits, "float32"))

    def update_metrics(self, losses, labels, logits, weights, counted=None):
        """Adds a batch; `weights` are of the losses, `counted` of top-1."""
        # Metrics keep sums and counts, since replicas may have unequal parts of a last batch, or none.
        self.mean_loss.update_state(losses, sample_weight=weights)
        labels = labels if len(labels.shape) == 1 else keras.ops.argmax(labels, axis=-1)
        self.top1.update_state(labels, logits, sample_weight=counted)


def add_decay(gradients, variables, decay, undecayed: tuple[str, ...]) -> list:
    """Adds decay times the weight to the gradients, but for weights whose path fits a pattern in `undecayed`."""
    return [
        g if any(fnmatch(v.path, p) for p in undecayed) else g + keras.ops.cast(decay, g.dtype) * v
        for g, v in zip(gradients, variables, strict=True)
    ]


class StepModel(keras_private.Built, TrainingModel):
    """The model that trains on TensorFlow, with this project's training step.

    `StepModel(plain.inputs, logits)` shares the layers of the model `plain` and so trains its weights.
    `compile(optimizer, loss)` as usual. Labels are integers (n,) or, where images are mixed or labels smoothed,
    probabilities (n, classes); weights of images (n,), also those that `fit` makes of `class_weight`, multiply
    their losses.

    The step has two functions. `gradients` is the forward and backward pass of one replica over one part of its
    images. `update` sums the gradients over parts and replicas, clips, decays and applies them. With
    `compile(..., xla=True)` XLA compiles `gradients`, and on one device `update`, too; under a strategy it cannot,
    because of the all-reduce.

    Every replica and every part must have equally many images (`Compute.check_batch`).

    Attributes:
        decay: L2 coefficient; decay times the weight is added to the gradient.
        undecayed: patterns of the paths of weights without decay, as ("*/bias", "*/gamma").
        clip: largest norm of all gradients together, after their sum over replicas and before decay, or None.
        accumulate: parts into which a replica's images are divided, one forward and backward pass each.
        gradient_hook: changes the gradients after clipping, before decay; or None.
        learning_variables: the variables that are trained; see `set_trainable_subset`.
        traces: how often `gradients` was traced; once per replica if shapes never change.
    """

    def __init__(
        self,
        inputs,
        outputs,
        decay: float = 0.0,
        undecayed: tuple[str, ...] = (),
        loss_weights: tuple[float, ...] = (1.0,),
        clip: float | None = None,
        accumulate: int = 1,
        preprocess: Callable | None = None,
    ):
        super().__init__(inputs, outputs, loss_weights, preprocess)
        self.decay, self.undecayed, self.clip, self.accumulate = decay, undecayed, clip, accumulate
        self.gradient_hook = self.trainable_subset = None
        self.traces = 0

    def compile(self, optimizer, loss, xla: bool = False, steps_per_execution: int = 1):
        """`xla` replaces Keras' `jit_compile`, which silently does nothing under a strategy or with determinism.

        Callbacks run after every `steps_per_execution` steps; the steps are the same.
        """
        super().compile(optimizer, loss, jit_compile=False, steps_per_execution=steps_per_execution)
        self.xla = xla
        self.gradient_fn = self.update_fn = None

    def gradients(self, images, labels, weights):
        """Loss of each image, logits, and gradients of the mean loss, scaled for float16, on one replica."""
        import tensorflow as tf

        self.traces += 1
        variables = [v.value for v in self.learning_variables]
        with tf.GradientTape(watch_accessed_variables=self.trainable_subset is None) as tape:
            if self.trainable_subset is not None:
                tape.watch(variables)
            outputs = keras.tree.flatten(self(self.preprocess(images), training=True))
            each = sum(w * self.example_losses(labels, o) for w, o in zip(self.loss_weights, outputs, strict=True))
            penalty = sum(self.losses) if self.losses else 0.0
            weighted = each if weights is None else each * keras.ops.cast(weights, each.dtype)
            objective = self.optimizer.scale_loss(keras.ops.mean(weighted) + penalty)
        gradients = tape.gradient(objective, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return each + penalty, outputs[0], gradients

    def train_step(self, data):
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        losses, logits, gradients = [], [], []
        for part in self._parts(images, labels, weights):
            each, outputs, more = self.gradient_fn(*part)
            losses.append(each)
            logits.append(outputs)
            gradients = [a + b for a, b in zip(gradients, more, strict=True)] if gradients else more
        self.update_fn(gradients)
        self.update_metrics(keras.ops.concatenate(losses), labels, keras.ops.concatenate(logits), weights)

    def test_step(self, data):
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        images = self.preprocess(self._never_empty(images))
        logits = keras.tree.flatten(self(images, training=False))[0][: keras.ops.shape(labels)[0]]
        self.update_metrics(self.example_losses(labels, logits), labels, logits, weights, counted=weights)

    def update(self, gradients):
        """Updates the weights by the gradients, summed over parts, of every replica."""
        import tensorflow as tf

        by = 1 / (self.accumulate * self._replicas)
        if by < 1:
            gradients = [g * keras.ops.cast(by, g.dtype) for g in gradients]
        if self._replicas > 1:
            gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        # Where float16 scales the loss, limit and decay are scaled like the gradients. After the sum all replicas
        # have the same gradients, so if one is not finite, all skip the step.
        if self.clip is not None:
            norm = tf.linalg.global_norm(gradients)
            limit = self.optimizer.scale_loss(tf.constant(self.clip, norm.dtype))
            gradients = [g * keras.ops.cast(limit / tf.maximum(norm, limit), g.dtype) for g in gradients]
        if self.gradient_hook is not None:
            gradients = self.gradient_hook(gradients, self.learning_variables)
        if self.decay:
            decay = self.optimizer.scale_loss(keras.ops.cast(self.decay, "float32"))
            gradients = add_decay(gradients, self.learning_variables, decay, self.undecayed)
        self.optimizer.apply_gradients(zip(gradients, self.learning_variables, strict=True))

    @property
    def learning_variables(self) -> list:
        return [
            v for v in self.trainable_variables if self.trainable_subset is None or id(v) in self.trainable_subset
        ]

    def set_trainable_subset(self, variables: list | None) -> None:
        """Makes the next steps train only these of the trainable variables; None is all.

        The backward pass ends at the first of them, so training a head costs little more than inference.
        """
        before = self.trainable_subset
        self.trainable_subset = None if variables is None else frozenset(map(id, variables))
        if self.trainable_subset != before and self.gradient_fn is not None:
            self.make_functions()
            self.make_train_function(force=True)

    def make_train_function(self, force=False):
        """Overrides Keras': the batch is taken outside the graph, so that the wait for it can be measured."""
        if self.train_function is None or force:
            if self.gradient_fn is None:
                self.make_functions()
            self.train_function = self._run_steps(self.train_step, timed=True)
        return self.train_function

    def make_test_function(self, force=False):
        """Overrides Keras', whose mean over replicas fails on several workers."""
        if self.test_function is None or force:
            self.test_function = self._run_steps(self.test_step, timed=False)
        return self.test_function

    def _run_steps(self, step, timed: bool):
        """A function that runs `steps_per_execution` steps, or fewer at the end of the data.

        With `timed` the wait for input counts as `data_wait_seconds`.
        """
        step = self._on_every_replica(step)

        def run(iterator):
            for number in range(self.steps_per_execution):
                began = time.perf_counter()
                try:
                    data = next(iterator)
                except StopIteration:
                    if number:
                        break
                    raise
                self.data_wait_seconds += timed * (time.perf_counter() - began)
                step(data)
            return self.get_metrics_result()

        return run

    def make_functions(self) -> None:
        """Makes `gradient_fn` and `update_fn`, compiled if `xla`, and builds the optimizer."""
        import tensorflow as tf

        compiled = partial(tf.function, jit_compile=True, autograph=False) if self.xla else lambda half: half
        self.gradient_fn = compiled(self.gradients)
        self.update_fn = compiled(self.update) if self._replicas == 1 else self.update
        with self.distribute_strategy.scope():
            if not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
        keras_private.leave_gradients(self.optimizer)
        if self._replicas > 1:
            differ_by_replica(self)

    @property
    def _replicas(self) -> int:
        return self.distribute_strategy.num_replicas_in_sync

    def _on_every_replica(self, step):
        import tensorflow as tf

        strategy = self.distribute_strategy
        step = tf.autograph.experimental.do_not_convert(step)
        return tf.function(lambda data: strategy.run(step, args=(data,)), autograph=False, reduce_retracing=True)

    def _parts(self, images, labels, weights):
        """The batch of a replica in `accumulate` equal parts."""
        import tensorflow as tf

        if self.accumulate == 1:
            return [(images, labels, weights)]
        columns = [
            [None] * self.accumulate if x is None else tf.split(x, self.accumulate)
            for x in (images, labels, weights)
        ]
        return zip(*columns, strict=True)

    def _never_empty(self, images):
        """The images, or a black one if a short last batch leaves a replica none: oneDNN fails on no images."""
        import tensorflow as tf

        if self._replicas == 1:
            return images
        missing = tf.maximum(0, 1 - tf.shape(images)[0])
        # Not tf.pad: oneDNN fuses it with the first convolution and drops the padding of the batch.
        return tf.concat([images, tf.zeros([missing, *images.shape[1:]], images.dtype)], axis=0)


class SoftCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits with integer labels (n,) or with probabilities (n, classes)."""

    def call(self, y_true, y_pred):
        if len(y_true.shape) == 1:
            return keras.ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        return keras.ops.categorical_crossentropy(y_true, y_pred, from_logits=True)


def differ_by_replica(model: keras.Model) -> None:
    """Makes dropout masks differ between replicas. In Keras all have equal seeds, and so equal masks.

    A mask depends on the seed, the number of earlier draws and the replica, so runs can be repeated; the first
    replica has the masks of a single device.
    """
    import tensorflow as tf

    def seed_of_replica(generator, ordered=True):
        seed = type(generator).next(generator, ordered)
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, seed.dtype)
        return seed + tf.stack([replica * 1_000_003, 0 * replica])

    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.next = partial(seed_of_replica, generator)


def sync_batch_norm(model: keras.Model) -> None:
    """Sets the batch-norm statistics of all replicas to their mean, which is also what a checkpoint holds.

    So evaluation under the strategy gives the numbers of the saved model.
    """
    for variable in model.non_trainable_variables:
        if getattr(variable, "synchronization", "auto") == "on_read":
            variable.assign(keras.ops.convert_to_numpy(variable))


def steps_done(model: keras.Model) -> int:
    """The number of updates so far."""
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))  # int() alone fails on a mirrored variable
