"""What `backends.backend` is on TensorFlow, and what every engine must answer."""

from collections.abc import Callable
from types import ModuleType

import keras

from training.data import pipeline
from training.data.folder import decoded
from training.engine import devices, xla_check
from training.engine.devices import Compute
from training.engine.step import StepModel
from training.recipes.schedules import Rate


class TensorFlow:
    """TensorFlow: `step.StepModel`, `tf.distribute`, tf.data."""

    name = "tensorflow"
    compiles = False  # always, by XLA
    step = StepModel
    choose = staticmethod(devices.choose)
    check_xla = staticmethod(xla_check.check_xla)

    def check_supported(self, args, recipe) -> None:
        """Raises ValueError for options and recipes that this engine does not have."""

    def reader(self, split, augment=(), mix=None, repeats: int = 1, growing=None) -> ModuleType:
        """What makes batches of a split: `pipeline`, or its twin `arrays`."""
        return pipeline

    pixels = pipeline  # `fit` and `with_channels` of single images
    can_probe_batch_size = True  # looks for a batch size that fits into memory

    read_image = staticmethod(decoded)  # an image file and its EXIF orientation -> uint8 (h, w, 3)

    def build_model(self, inputs, outputs, recipe, loss_weights, preprocess) -> keras.Model:
        """The model that trains, not yet compiled; it prepares its images itself."""
        r = recipe
        return self.step(
            inputs, outputs, r.decay, r.no_weight_decay, loss_weights, r.clip, r.accumulate, preprocess
        )

    def optimizer(self, recipe, rate: Rate, model) -> keras.optimizers.Optimizer:
        """The recipe's optimizer for that model."""
        return recipe.optimizer.build(rate, recipe.ema)

    def training_data(self, chosen: Compute, batches, size: int, model):
        """A training stream as `fit` takes it."""
        return chosen.feed(batches, size, endless=True)

    def validation_data(self, chosen: Compute, batches, size: int):
        """Batches to validate on, as `fit` takes them again and again."""
        return chosen.feed(batches, size)

    def sync_variables(self, model) -> None:
        """Makes the model's variables hold what its last step has made of them."""

    def rate(self, model) -> float | None:
        """The rate of the step under way, where it can be had for nothing."""
        return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))

    def is_local(self, variable) -> bool:
        """Whether every replica keeps a value of its own."""
        return getattr(variable, "synchronization", "auto") == "on_read"

    def forward(self, model) -> Callable:
        """images -> outputs in inference mode, as one graph for any batch size."""
        import tensorflow as tf

        shape = (None, *model.inputs[0].shape[1:])
        return tf.function(
            lambda images: model(images, training=False), input_signature=[tf.TensorSpec(shape, tf.float32)]
        )

    @property
    def has_accelerator(self) -> bool:
        """Whether this machine has more than a CPU."""
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))

    @property
    def read_errors(self) -> tuple[type, ...]:
        """What reading of files raises while training."""
        import tensorflow as tf

        return (tf.errors.OpError,)

    def is_oom(self, error: BaseException) -> bool:
        """Whether the memory was too small."""
        import tensorflow as tf

        return isinstance(error, tf.errors.ResourceExhaustedError | MemoryError)
