"""The JAX and torch backends, which train by Keras' own `fit`."""

import importlib.util
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import keras
import numpy as np

from training.data import numpy_ops, numpy_pipeline
from training.data.readers import NUMPY, TF_DATA, Reader
from training.engine.devices import ALONE, Compute
from training.engine.keras_step import KerasStep, PaddedBatches, configure_optimizer, prefetch
from training.recipes.schedules import Rate

FIRST_BFLOAT16 = 8  # compute capability with fast bfloat16 (Ampere)


@cache
def _tensorflow_without_gpus() -> None:
    """TensorFlow only makes batches here, and must not allocate the memory of the GPUs."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


class KerasFitBackend:
    """What JAX and torch have in common of `backends.Backend`."""

    name: str
    always_xla = False
    model_class = KerasStep
    array_reader = NUMPY
    can_probe_batch_size = False
    read_image = staticmethod(numpy_ops.read_image)

    def check_supported(self, args, recipe) -> None:
        asked = {"--find-lr": args.find_lr, "accumulate": recipe.accumulate > 1}
        asked |= {"progressive_resizing": recipe.progressive_resizing}
        asked |= {type(algorithm).__name__: True for algorithm in recipe.algorithms}
        self._refuse(asked)

    def _refuse(self, asked: dict) -> None:
        for what, yes in asked.items():
            if yes:
                raise ValueError(f"{what} needs KERAS_BACKEND=tensorflow, got {self.name}")

    def devices(self, replicas: int | None) -> tuple[str, int, int]:
        """(kind, count, compute capability of the oldest) of the devices of this machine."""
        raise NotImplementedError

    def choose(
        self, replicas: int | None, precision: str, xla: str, deterministic: bool, group=ALONE, norms: str = "own"
    ) -> Compute:
        half = precision == "float16"
        self._refuse({"--workers": not group.alone, "--sync-bn": norms != "own", "float16": half})
        if xla != "auto" and (xla == "on") != self.always_xla:
            always = "always uses" if self.always_xla else "cannot use"
            raise ValueError(f"{self.name} {always} XLA, got --xla {xla}; leave it out")
        kind, count, capability = self.devices(replicas)
        self._refuse({"--deterministic on GPUs": deterministic and kind != "CPU"})
        replicas = replicas or (count if kind != "CPU" else 1)
        if replicas > count:
            raise ValueError(f"--replicas must be at most {count} with {self.name} here, got {replicas}")
        reason = "as asked"
        if precision == "auto":
            fast = kind != "CPU" and capability >= FIRST_BFLOAT16
            precision = "bfloat16" if fast else "float32"
            reason = "the GPUs have it" if fast else "no fast bfloat16 here"
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
        _tensorflow_without_gpus()
        return TF_DATA

    def build_model(self, inputs, outputs, recipe, loss_weights, preprocess) -> keras.Model:
        return KerasStep(inputs, outputs, loss_weights, preprocess)

    def optimizer(self, recipe, rate: Rate, model) -> keras.optimizers.Optimizer:
        optimizer = recipe.optimizer.build(rate, recipe.ema)
        optimizer.plateau_factor = (
            rate.plateau_factor
        )  # a variable of the optimizer: JAX treats all others as constants
        configure_optimizer(optimizer, model, recipe.decay, recipe.no_weight_decay, recipe.clip)
        return optimizer

    def training_data(self, compute: Compute, batches, size: int, model):
        return prefetch(batches, model)

    def validation_data(self, compute: Compute, batches, size: int):
        return PaddedBatches(batches, -(-size // compute.replicas) * compute.replicas)

    def check_xla(self, model, images, labels) -> str:
        return f"XLA: on, always with {self.name}"

    def sync_variables(self, model) -> None:
        """Variables always have the values of the last step."""

    def learning_rate(self, model) -> float | None:
        return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))

    def is_local(self, variable) -> bool:
        return False

    def on_device(self, model) -> Callable:
        """A function images -> outputs in inference mode, both on the device."""
        raise NotImplementedError

    def forward(self, model) -> Callable:
        run = self.on_device(model)
        return lambda images: keras.ops.convert_to_numpy(run(np.asarray(images)))

    @property
    def has_accelerator(self) -> bool:
        return self.devices(None)[0] != "CPU"

    @property
    def read_errors(self) -> tuple[type, ...]:
        if not importlib.util.find_spec("tensorflow"):
            return ()
        import tensorflow as tf

        return (tf.errors.OpError,)

    def is_oom(self, error: BaseException) -> bool:
        text = f"{type(error).__name__} {error}"
        return isinstance(error, MemoryError) or "OutOfMemory" in text or "RESOURCE_EXHAUSTED" in text


class Jax(KerasFitBackend):
    """Implements `backends.Backend` on JAX: XLA always; several devices compute one step together."""

    name = "jax"
    always_xla = True

    def devices(self, replicas: int | None) -> tuple[str, int, int]:
        """(kind, count, compute capability of the oldest); a CPU is divided into `replicas` devices."""
        import jax

        if replicas and replicas > 1:
            with suppress(RuntimeError):  # JAX has started already, with one
                jax.config.update("jax_num_cpu_devices", replicas)
        found = jax.devices()
        capabilities = [int(float(getattr(d, "compute_capability", 0) or 0)) for d in found]
        kind = "CPU" if found[0].platform == "cpu" else "GPU"
        return kind, len(found), min(capabilities)

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
    """Implements `backends.Backend` on torch: one device, no compilation."""

    name = "torch"

    def devices(self, replicas: int | None) -> tuple[str, int, int]:
        import torch

        if torch.cuda.is_available():
            return "GPU", 1, torch.cuda.get_device_capability()[0]
        return "CPU", 1, 0

    def on_device(self, model) -> Callable:
        import torch

        return torch.inference_mode()(lambda images: model(images, training=False))
