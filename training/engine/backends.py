"""`backend` is the Keras backend in use (KERAS_BACKEND); `Backend` is the interface of the three.

TensorFlow supports everything. JAX and torch train by Keras' `fit`, read images in memory by NumPy and all others
by tf.data, if TensorFlow is installed, and refuse in one line what they do not support (docs/engines.md).
"""

import importlib.util
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import keras
import numpy as np

from training.data import numpy_ops, numpy_pipeline
from training.data.folder import decoded
from training.data.readers import NUMPY, TF_DATA, Reader
from training.engine import devices
from training.engine.devices import ALONE, Compute
from training.engine.keras_step import KerasStep, PaddedBatches, configure_optimizer, prefetch
from training.engine.step import StepModel
from training.recipes.schedules import Rate

XLA_STEPS = 3  # that are tried before training


class Backend(Protocol):
    """All in which the backends differ."""

    name: str  # as in KERAS_BACKEND
    always_xla: bool  # XLA compiles every step, whatever the options say
    model_class: type[keras.Model]  # the model that trains
    array_reader: Reader  # resizes images that are in memory
    can_probe_batch_size: bool  # smaller batches can be tried after running out of memory

    def check_supported(self, args, recipe) -> None:
        """Raises ValueError for options and recipes that this backend does not support."""

    @abstractmethod
    def choose(
        self, replicas: int | None, precision: str, xla: str, deterministic: bool, group=ALONE, norms: str = "own"
    ) -> Compute:
        """Chooses devices, precision and XLA; see `devices.choose`."""

    @abstractmethod
    def reader(self, split, augment=(), mix=None, repeats: int = 1, growing=None) -> Reader:
        """The input pipeline that makes batches of a split with this augmentation."""

    @abstractmethod
    def read_image(self, path: str, turn: int) -> np.ndarray:
        """An image file as uint8 (h, w, 3), turned upright by its EXIF orientation."""

    @abstractmethod
    def build_model(self, inputs, outputs, recipe, loss_weights, preprocess) -> keras.Model:
        """The model that trains, not yet compiled; it preprocesses its images itself."""

    def optimizer(self, recipe, rate: Rate, model) -> keras.optimizers.Optimizer:
        """The recipe's optimizer for that model."""
        return recipe.optimizer.build(rate, use_ema=recipe.ema > 0, ema_momentum=recipe.ema)

    @abstractmethod
    def training_data(self, compute: Compute, batches, size: int, model) -> Any:
        """A training stream as `fit` takes it."""

    @abstractmethod
    def validation_data(self, compute: Compute, batches, size: int) -> Any:
        """Validation batches as `fit` takes them, any number of times."""

    @abstractmethod
    def check_xla(self, model, images, labels) -> str:
        """Runs the compiled forward and backward pass and turns XLA off if it fails; returns a line for the log.

        Args:
            images: as many as a replica takes in one forward and backward pass, in the form of a training batch.
            labels: of these images, as the loss takes them.
        """

    def sync_variables(self, model) -> None:
        """Writes the values of the last step to the model's variables, where they do not have them already."""

    def learning_rate(self, model) -> float | None:
        """The learning rate of the current step; None if reading it would cost time."""
        return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))

    def is_local(self, variable) -> bool:
        """Whether every replica has its own value of the variable."""
        return False

    @abstractmethod
    def forward(self, model) -> Callable:
        """A function images -> outputs in inference mode, compiled once for any batch size."""

    @property
    @abstractmethod
    def has_accelerator(self) -> bool:
        """Whether this machine has more than a CPU."""

    @property
    def read_errors(self) -> tuple[type, ...]:
        """The errors that reading of files raises during training."""
        if not importlib.util.find_spec("tensorflow"):
            return ()
        import tensorflow as tf

        return (tf.errors.OpError,)

    def is_oom(self, error: BaseException) -> bool:
        """Whether memory ran out."""
        text = f"{type(error).__name__} {error}"
        words = ("OutOfMemory", "ResourceExhausted", "RESOURCE_EXHAUSTED")
        return isinstance(error, MemoryError) or any(word in text for word in words)


class TensorFlow(Backend):
    """TensorFlow: `StepModel`, `tf.distribute`, tf.data."""

    name = "tensorflow"
    always_xla = False
    model_class = StepModel
    array_reader = TF_DATA
    can_probe_batch_size = True
    choose = staticmethod(devices.choose)
    read_image = staticmethod(decoded)

    def reader(self, split, augment=(), mix=None, repeats: int = 1, growing=None) -> Reader:
        return TF_DATA

    def build_model(self, inputs, outputs, recipe, loss_weights, preprocess) -> keras.Model:
        r = recipe
        return StepModel(
            inputs, outputs, r.decay, r.no_weight_decay, loss_weights, r.clip, r.accumulate, preprocess
        )

    def training_data(self, compute: Compute, batches, size: int, model):
        return compute.feed(batches, size, endless=True)

    def validation_data(self, compute: Compute, batches, size: int):
        return compute.feed(batches, size)

    def check_xla(self, model: StepModel, images, labels) -> str:
        """As there. Afterwards the model is as before; training uses what was compiled."""
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
            batch = keras.tree.map_structure(tf.constant, (images, labels))
            for _ in range(XLA_STEPS):
                losses = strategy.experimental_local_results(trial(*batch))
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

    def is_local(self, variable) -> bool:
        return getattr(variable, "synchronization", "auto") == "on_read"

    def forward(self, model) -> Callable:
        import tensorflow as tf

        signature = [tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32)]
        return tf.function(lambda images: model(images, training=False), input_signature=signature)

    @property
    def has_accelerator(self) -> bool:
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))


class KerasFitBackend(Backend):
    """What JAX and torch have in common: training by Keras' `fit`, batches by NumPy."""

    always_xla = False
    model_class = KerasStep
    array_reader = NUMPY
    can_probe_batch_size = False
    read_image = staticmethod(numpy_ops.read_image)

    def check_supported(self, args, recipe) -> None:
        asked = {"accumulate": recipe.accumulate > 1, "progressive_resizing": recipe.progressive_resizing}
        algorithms = {type(algorithm).__name__: True for algorithm in recipe.algorithms}
        self._refuse({"--find-lr": args.find_lr, **asked, **algorithms})

    def _refuse(self, asked: dict) -> None:
        for what, yes in asked.items():
            if yes:
                raise ValueError(f"{what} needs KERAS_BACKEND=tensorflow, got {self.name}")

    @abstractmethod
    def devices(self, replicas: int | None) -> tuple[int, list[int]]:
        """Number of devices, and the major compute capabilities of the GPUs among them."""

    def choose(self, replicas, precision, xla, deterministic, group=ALONE, norms="own") -> Compute:
        half = precision == "float16"
        self._refuse({"--workers": not group.alone, "--sync-bn": norms != "own", "float16": half})
        if xla != "auto" and (xla == "on") != self.always_xla:
            always = "always uses" if self.always_xla else "cannot use"
            raise ValueError(f"{self.name} {always} XLA, got --xla {xla}; leave it out")
        count, gpus = self.devices(replicas)
        self._refuse({"--deterministic on GPUs": deterministic and gpus})
        replicas = replicas or (count if gpus else 1)
        if replicas > count:
            raise ValueError(f"--replicas must be at most {count} with {self.name} here, got {replicas}")
        precision, reason = devices.choose_precision(precision, gpus)
        kind = "GPU" if gpus else "CPU"
        shared = ", batch norm over the whole batch" if replicas > 1 else ""
        why = (
            f"devices: {replicas} {kind}, precision: {precision} ({reason}), "
            f"XLA: {'on' if self.always_xla else 'off'} (backend: {self.name}){shared}"
        )
        if replicas > 1:
            names = keras.distribution.list_devices()[:replicas]
            keras.distribution.set_distribution(keras.distribution.DataParallel(devices=names))
        return Compute(kind, replicas, precision, self.always_xla, None, why)

    def reader(self, split, augment=(), mix=None, repeats: int = 1, growing=None) -> Reader:
        unsupported = numpy_pipeline.unsupported(split, augment, mix, repeats, growing)
        if unsupported is None:
            return NUMPY
        if not importlib.util.find_spec("tensorflow"):
            raise ValueError(f"TensorFlow, which is not installed, is needed to read: {unsupported}")
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")  # it only makes batches and needs no memory of the GPUs
        return TF_DATA

    def build_model(self, inputs, outputs, recipe, loss_weights, preprocess) -> keras.Model:
        return KerasStep(inputs, outputs, loss_weights, preprocess)

    def optimizer(self, recipe, rate: Rate, model) -> keras.optimizers.Optimizer:
        optimizer = super().optimizer(recipe, rate, model)
        # As a variable of the optimizer, since JAX treats all others as constants.
        optimizer.plateau_factor = rate.plateau_factor
        configure_optimizer(optimizer, model, recipe.decay, recipe.no_weight_decay, recipe.clip)
        return optimizer

    def training_data(self, compute: Compute, batches, size: int, model):
        return prefetch(batches, model)

    def validation_data(self, compute: Compute, batches, size: int):
        return PaddedBatches(batches, -(-size // compute.replicas) * compute.replicas)

    def check_xla(self, model, images, labels) -> str:
        return f"XLA: on, always with {self.name}"

    @abstractmethod
    def on_device(self, model) -> Callable:
        """A function images -> outputs in inference mode, both on the device."""

    def forward(self, model) -> Callable:
        run = self.on_device(model)
        return lambda images: keras.ops.convert_to_numpy(run(np.asarray(images)))

    @property
    def has_accelerator(self) -> bool:
        return bool(self.devices(None)[1])


class Jax(KerasFitBackend):
    """JAX: XLA always; several devices compute one step together."""

    name = "jax"
    always_xla = True

    def devices(self, replicas: int | None) -> tuple[int, list[int]]:
        """As there; a CPU is divided into `replicas` devices."""
        import jax

        if replicas and replicas > 1:
            with suppress(RuntimeError):  # JAX has started already, with one
                jax.config.update("jax_num_cpu_devices", replicas)
        found = jax.devices()
        gpus = [d for d in found if d.platform != "cpu"]
        return len(found), [int(float(getattr(d, "compute_capability", 0) or 0)) for d in gpus]

    def sync_variables(self, model) -> None:
        model.jax_state_sync()

    def learning_rate(self, model) -> float | None:
        return None  # the number of the step is on the device

    def on_device(self, model) -> Callable:
        import jax

        @jax.jit
        def run(trained, others, images):  # weights are arguments: as constants they take long to compile
            return model.stateless_call(trained, others, images, training=False)[0]

        kinds = (model.trainable_variables, model.non_trainable_variables)
        return lambda images: run(*([v.value for v in kind] for kind in kinds), images)


class Torch(KerasFitBackend):
    """torch: one device, no compilation."""

    name = "torch"

    def devices(self, replicas: int | None) -> tuple[int, list[int]]:
        import torch

        return 1, [torch.cuda.get_device_capability()[0]] if torch.cuda.is_available() else []

    def on_device(self, model) -> Callable:
        import torch

        return torch.inference_mode()(lambda images: model(images, training=False))


BACKENDS: tuple[Backend, ...] = (TensorFlow(), Jax(), Torch())
backend = {each.name: each for each in BACKENDS}[keras.backend.backend()]
