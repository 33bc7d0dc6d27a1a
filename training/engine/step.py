"""The training step, as a model that `fit` drives, on one device or on many."""

import time
from collections.abc import Callable
from fnmatch import fnmatch
from functools import partial

import keras

from training.engine import keras_private


class StepModel(keras_private.Built, keras.Model):
    """A functional model with this project's training step; gives logits.

    Built on the tensors of a plain model, `StepModel(plain.inputs, logits)`, it shares that model's layers: what
    it learns is in the plain model. `compile(optimizer, loss)` as usual; metrics are the mean loss and top-1.
    Labels are integers (n,) or, where images are mixed or labels smoothed, probabilities (n, classes); weights of
    images (n,), which `class_weight` of `fit` makes too, multiply their losses.

    The step has two halves. `gradients` is the forward and backward pass of one replica over one part of its
    share of the batch. `update` sums the gradients over parts and replicas, clips, decays and applies them. With
    `compile(..., xla=True)` XLA compiles the first half; under a strategy no more, because it cannot compile an
    all-reduce, and on one device the second half, too.

    Every replica and every part has equally many images; the door sees to it.

    Attributes:
        decay: L2 coefficient; decay times the weight is added to the gradient.
        undecayed: patterns of the paths of weights that are left out of it, as ("*/bias", "*/gamma").
        loss_weights: of each output; the first output is the network's answer, others are training heads.
        clip: largest norm of all gradients together, after their sum over replicas and before decay; None is any.
        accumulate: parts into which a replica's images are cut, one forward and backward pass each.
        preprocess: from the images of a batch to what the network takes; done on the device.
        gradient_hook: changes the gradients after their sum and limit, before decay; or None.
        learning_variables: the variables that learn; see `set_trainable_subset`.
        data_wait_seconds: seconds that training has waited for input so far.
        traces: how often Python went through `gradients`; once a replica, or shapes change.
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
        super().__init__(inputs, outputs)
        if len(loss_weights) != len(self.outputs):
            raise ValueError(f"{len(self.outputs)} outputs need as many loss_weights; {loss_weights} came")
        self.decay = decay
        self.undecayed = undecayed
        self.loss_weights = loss_weights
        self.clip = clip
        self.accumulate = accumulate
        self.preprocess = preprocess or (lambda images: images)
        self.gradient_hook = None
        self.trainable_subset = None
        self.data_wait_seconds = 0.0
        self.traces = 0
        self.mean_loss = keras.metrics.Mean("loss")
        self.top1 = keras.metrics.SparseCategoricalAccuracy("top1")

    @property
    def metrics(self):
        return [self.mean_loss, self.top1]

    def compile(self, optimizer, loss, xla: bool = False, steps_per_execution: int = 1):
        """As Keras' own, whose `jit_compile` would refuse XLA silently under a strategy or with determinism.

        With `steps_per_execution` callbacks hear of so many steps at a time; the steps are the same.
        """
        super().compile(optimizer, loss, jit_compile=False, steps_per_execution=steps_per_execution)
        self.xla = xla
        self.gradient_fn = self.update_fn = None

    def gradients(self, images, labels, weights):
        """One replica's half: loss of each image, logits, gradients of the mean loss, scaled for float16."""
        import tensorflow as tf

        self.traces += 1
        variables = [v.value for v in self.learning_variables]
        with tf.GradientTape(watch_accessed_variables=self.trainable_subset is None) as tape:
            if self.trainable_subset is not None:
                tape.watch(variables)
            outputs = keras.tree.flatten(self(self.preprocess(images), training=True))
            each = sum(s * self._each(labels, o) for s, o in zip(self.loss_weights, outputs, strict=True))
            penalty = sum(self.losses) if self.losses else 0.0
            weighted = each if weights is None else each * keras.ops.cast(weights, each.dtype)
            objective = self.optimizer.scale_loss(keras.ops.mean(weighted) + penalty)
        gradients = tape.gradient(objective, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return each + penalty, outputs[0], gradients

    def train_step(self, data):
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        losses, logits, gradients = [], [], []
        for part in self._parts(images, labels, weights):
            each, answers, slopes = self.gradient_fn(*part)
            losses.append(each)
            logits.append(answers)
            gradients = [a + b for a, b in zip(gradients, slopes, strict=True)] if gradients else slopes
        self.update_fn(gradients)
        self._measure(keras.ops.concatenate(losses), labels, keras.ops.concatenate(logits), weights)

    def test_step(self, data):
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        images = self.preprocess(self._never_empty(images))
        logits = keras.tree.flatten(self(images, training=False))[0][: keras.ops.shape(labels)[0]]
        self._measure(self._each(labels, logits), labels, logits, weights, counted=weights)

    def update(self, gradients):
        """The other half: the sums of gradients over parts -> new weights."""
        import tensorflow as tf

        by = 1 / (self.accumulate * self._replicas)
        if by < 1:
            gradients = [g * keras.ops.cast(by, g.dtype) for g in gradients]
        if self._replicas > 1:
            gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        # Where float16 scales the loss, limit and decay are scaled as the gradients are. A gradient that is not
        # finite on one replica is so on all of them by now, and all of them leave out this step.
        if self.clip is not None:
            norm = tf.linalg.global_norm(gradients)
            limit = self.optimizer.scale_loss(tf.constant(self.clip, norm.dtype))
            gradients = [g * keras.ops.cast(limit / tf.maximum(norm, limit), g.dtype) for g in gradients]
        if self.gradient_hook is not None:
            gradients = self.gradient_hook(gradients, self.learning_variables)
        self.optimizer.apply_gradients(zip(self._decayed(gradients), self.learning_variables, strict=True))

    @property
    def learning_variables(self) -> list:
        return [
            v for v in self.trainable_variables if self.trainable_subset is None or id(v) in self.trainable_subset
        ]

    def set_trainable_subset(self, variables: list | None) -> None:
        """From the next step on only these of the trainable variables learn; None is all of them.

        The backward pass ends where none of them is left, so that a head alone costs little more than inference.
        """
        before = self.trainable_subset
        self.trainable_subset = None if variables is None else frozenset(map(id, variables))
        if self.trainable_subset != before and self.gradient_fn is not None:
            self.make_functions()
            self.make_train_function(force=True)

    def make_train_function(self, force=False):
        """Keras calls this once; taking the batch outside the graph lets the wait for it be measured."""
        if self.train_function is not None and not force:
            return self.train_function
        if self.gradient_fn is None:
            self.make_functions()
        step = self._on_every_replica(self.train_step)

        def train(iterator):
            self._execute(step, iterator)
            return self.get_metrics_result()

        self.train_function = train
        return train

    def make_test_function(self, force=False):
        """As Keras' own, whose way to the mean over replicas fails on several workers."""
        if self.test_function is not None and not force:
            return self.test_function
        step = self._on_every_replica(self.test_step)

        def test(iterator):
            waited = self.data_wait_seconds
            self._execute(step, iterator)
            self.data_wait_seconds = waited
            return self.get_metrics_result()

        self.test_function = test
        return test

    def _execute(self, step, iterator) -> None:
        """`steps_per_execution` steps, or fewer at the end of the data; StopIteration if there are none left."""
        for number in range(self.steps_per_execution):
            began = time.perf_counter()
            try:
                data = next(iterator)
            except StopIteration:
                if number:
                    return
                raise
            self.data_wait_seconds += time.perf_counter() - began
            step(data)

    def make_functions(self) -> None:
        """Makes the graphs of the two halves, compiled or not as `xla` says, and the optimizer ready."""
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
        """The images of a replica in `accumulate` equal parts."""
        import tensorflow as tf

        if self.accumulate == 1:
            return [(images, labels, weights)]
        columns = [
            [None] * self.accumulate if x is None else tf.split(x, self.accumulate)
            for x in (images, labels, weights)
        ]
        return zip(*columns, strict=True)

    def _never_empty(self, images):
        """The images, and a black one where a replica has none of a short last batch: oneDNN fails on nothing."""
        import tensorflow as tf

        if self._replicas == 1:
            return images
        missing = tf.maximum(0, 1 - tf.shape(images)[0])
        # Not tf.pad: oneDNN takes it for the padding of the first convolution and leaves out that of the batch.
        return tf.concat([images, tf.zeros([missing, *images.shape[1:]], images.dtype)], axis=0)

    def _decayed(self, gradients):
        if not self.decay:
            return gradients
        decay = self.optimizer.scale_loss(keras.ops.cast(self.decay, "float32"))
        return [
            g if any(fnmatch(v.path, p) for p in self.undecayed) else g + keras.ops.cast(decay, g.dtype) * v
            for g, v in zip(gradients, self.learning_variables, strict=True)
        ]

    def _each(self, labels, logits):
        """Loss of each image, (n,)."""
        return keras.losses.get(self.loss).call(labels, keras.ops.cast(logits, "float32"))

    def _measure(self, losses, labels, logits, weights, counted=None):
        # Sums and counts, not means: replicas may have unequal loss_weights of a last batch, or nothing at all.
        self.mean_loss.update_state(losses, sample_weight=weights)
        right = labels if len(labels.shape) == 1 else keras.ops.argmax(labels, axis=-1)
        self.top1.update_state(right, logits, sample_weight=counted)


class SoftCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits with integer labels (n,) or with probabilities (n, classes)."""

    def call(self, y_true, y_pred):
        if len(y_true.shape) == 1:
            return keras.ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        return keras.ops.categorical_crossentropy(y_true, y_pred, from_logits=True)


def differ_by_replica(model: keras.Model) -> None:
    """Makes dropout draw other numbers on every replica. Keras keeps equal seeds on all, so equal masks.

    What is drawn depends on the seed, the draws before and the number of the replica, so runs can be repeated;
    the first replica draws what one device would.
    """
    import tensorflow as tf

    def of(generator, ordered=True):
        seed = type(generator).next(generator, ordered)
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, seed.dtype)
        return seed + tf.stack([replica * 1_000_003, 0 * replica])

    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.next = partial(of, generator)


def sync_batch_norm(model: keras.Model) -> None:
    """Makes all replicas hold the mean of their batch-norm statistics, which is also what is saved.

    After it, evaluation under the strategy is evaluation of the saved model.
    """
    for variable in model.non_trainable_variables:
        if getattr(variable, "synchronization", "auto") == "on_read":
            variable.assign(keras.ops.convert_to_numpy(variable))


def steps_done(model: keras.Model) -> int:
    """Updates so far."""
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))  # int() alone fails on a mirrored variable
