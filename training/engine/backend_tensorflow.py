"""The TensorFlow backend: `StepModel`, `tf.distribute`, tf.data."""

from collections.abc import Callable

import keras
import numpy as np

from training.data.folder import decoded
from training.data.readers import TF_DATA, Reader
from training.engine import devices
from training.engine.devices import Compute
from training.engine.step import StepModel
from training.recipes.schedules import Rate

XLA_STEPS = 3  # that are tried before training


class TensorFlow:
    """Implements `backends.Backend` on TensorFlow."""

    name = "tensorflow"
    always_xla = False
    model_class = StepModel
    array_reader = TF_DATA
    can_probe_batch_size = True
    choose = staticmethod(devices.choose)
    read_image = staticmethod(decoded)

    def check_supported(self, args, recipe) -> None:
        """Supports everything."""

    def reader(self, split, augment=(), mix=None, repeats: int = 1, growing=None) -> Reader:
        return TF_DATA

    def build_model(self, inputs, outputs, recipe, loss_weights, preprocess) -> keras.Model:
        r = recipe
        return StepModel(
            inputs, outputs, r.decay, r.no_weight_decay, loss_weights, r.clip, r.accumulate, preprocess
        )

    def optimizer(self, recipe, rate: Rate, model) -> keras.optimizers.Optimizer:
        return recipe.optimizer.build(rate, recipe.ema)

    def training_data(self, compute: Compute, batches, size: int, model):
        return compute.feed(batches, size, endless=True)

    def validation_data(self, compute: Compute, batches, size: int):
        return compute.feed(batches, size)

    def check_xla(self, model: StepModel, images, labels) -> str:
        """Runs the compiled forward and backward pass and turns XLA off if it fails; returns a line for the log.

        Afterwards the model is as before. Training uses what was compiled.

        Args:
            images: as many as a replica takes in one forward and backward pass, as they come in training.
            labels: of these images, as the loss takes them.
        """
        import tensorflow as tf

        model.make_functions()
        before = [(v, keras.ops.convert_to_numpy(v)) for v in model.non_trainable_variables]
        strategy = model.distribute_strategy
        trial = tf.function(
            # With a bare tf.function in place of the lambda, TensorFlow compiles all replicas as one.
            lambda *data: strategy.run(lambda x, y: model.gradient_fn(x, y, None)[0], args=data),
            autograph=False,
        )
        try:
            for _ in range(XLA_STEPS):
                losses = strategy.experimental_local_results(
                    trial(*keras.tree.map_structure(tf.constant, (images, labels)))
                )
                if not all(np.isfinite(loss).all() for loss in losses):
                    raise ValueError("a loss was not finite")
            where = "every replica" if len(losses) > 1 else "the step"
            return f"XLA: on for {where} ({XLA_STEPS} compiled steps worked)"
        except (tf.errors.OpError, ValueError, RuntimeError, TypeError, NotImplementedError) as error:
            model.xla = False
            model.make_functions()
            reason = " ".join(str(error).split())[:200]
            return f"XLA: off, because compiled steps fail ({type(error).__name__}: {reason})"
        finally:
            for variable, value in before:
                variable.assign(value)

    def sync_variables(self, model) -> None:
        """Variables always have the values of the last step."""

    def learning_rate(self, model) -> float | None:
        return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))

    def is_local(self, variable) -> bool:
        return getattr(variable, "synchronization", "auto") == "on_read"

    def forward(self, model) -> Callable:
        import tensorflow as tf

        shape = (None, *model.inputs[0].shape[1:])
        return tf.function(
            lambda images: model(images, training=False), input_signature=[tf.TensorSpec(shape, tf.float32)]
        )

    @property
    def has_accelerator(self) -> bool:
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))

    @property
    def read_errors(self) -> tuple[type, ...]:
        import tensorflow as tf

        return (tf.errors.OpError,)

    def is_oom(self, error: BaseException) -> bool:
        import tensorflow as tf

        return isinstance(error, tf.errors.ResourceExhaustedError | MemoryError)
