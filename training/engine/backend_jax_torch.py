"""What `backends.backend` is on JAX and on torch."""

import importlib.util
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import ModuleType

import keras
import numpy as np

from training.data import numpy_pipeline
from training.data.numpy_ops import read_image
from training.engine.backend_tensorflow import TensorFlow
from training.engine.devices import ALONE, LONGEST, Compute, Group
from training.engine.keras_step import KerasStep, configure_optimizer
from training.engine.prefetch import PaddedBatches, prefetch
from training.recipes.schedules import Rate

BIG_ENOUGH = 8  # compute capability from which bfloat16 is fast (Ampere)


@cache
def _tensorflow_without_gpus() -> None:
    """TensorFlow makes batches only, and must not take the memory of the GPUs."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


class Other(TensorFlow):
    """What JAX and torch have in common."""

    step = KerasStep
    pixels = numpy_pipeline
    can_probe_batch_size = False
    read_image = staticmethod(read_image)

    def check_supported(self, args, recipe) -> None:
        asked = {"--find-lr": args.find_lr, "accumulate": recipe.accumulate > 1}
        asked |= {"progressive_resizing": recipe.progressive_resizing}
        asked |= {type(algorithm).__name__: True for algorithm in recipe.algorithms}
        self._without(asked)

    def _without(self, asked: dict) -> None:
        for what, yes in asked.items():
            if yes:
                raise ValueError(f"{what} needs KERAS_BACKEND=tensorflow; {self.name} came")

    def choose(
        self,
        replicas: int | None,
        precision: str,
        xla: str,
        deterministic: bool,
        group: Group = ALONE,
        norms: str = "own",
        patience: float = LONGEST,
    ) -> Compute:
        """As `compute.choose`."""
        self._without(
            {"--workers": not group.alone, "--sync-bn": norms != "own", "float16": precision == "float16"}
        )
        if xla != "auto" and (xla == "on") != self.compiles:
            raise ValueError(f"{self.name} runs {'with' if self.compiles else 'without'} XLA; --xla {xla} came")
        kind, count, newest = self.devices(replicas)
        self._without({"--deterministic on GPUs": deterministic and kind != "CPU"})
        replicas = replicas or (count if kind != "CPU" else 1)
        if replicas > count:
            raise ValueError(f"--replicas is at most {count} with {self.name} here; {replicas} came")
        because = "as asked"
        if precision == "auto":
            fast = kind != "CPU" and newest >= BIG_ENOUGH
            precision = "bfloat16" if fast else "float32"
            because = "the GPUs have it" if fast else "no fast bfloat16 here"
        shared = ", batch norm over the whole batch" if replicas > 1 else ""
        why = (
            f"devices: {replicas} {kind}, precision: {precision} ({because}), "
            f"XLA: {'on' if self.compiles else 'off'} (engine: {self.name}){shared}"
        )
        if replicas > 1:
            names = keras.distribution.list_devices()[:replicas]
            keras.distribution.set_distribution(keras.distribution.DataParallel(devices=names))
        return Compute(kind, replicas, precision, self.compiles, None, why)

    def reader(self, split, augment=(), mix=None, repeats: int = 1, growing=None) -> ModuleType:
        missing = numpy_pipeline.unsupported(split, augment, mix, repeats, growing)
        if missing is None:
            return numpy_pipeline
        if not importlib.util.find_spec("tensorflow"):
            raise ValueError(f"TensorFlow, which is not installed, is needed to read: {missing}")
        _tensorflow_without_gpus()
        return super().reader(split)

    def build_model(self, inputs, outputs, recipe, loss_weights, preprocess) -> keras.Model:
        return self.step(inputs, outputs, loss_weights, preprocess)

    def optimizer(self, recipe, rate: Rate, model) -> keras.optimizers.Optimizer:
        found = recipe.optimizer.build(rate, recipe.ema)
        found.plateau_factor = (
            rate.plateau_factor
        )  # so it is one of the optimizer's variables: JAX takes all others for constants
        configure_optimizer(found, model, recipe.decay, recipe.no_weight_decay, recipe.clip)
        return found

    def training_data(self, chosen: Compute, batches, size: int, model):
        return prefetch(batches, model)

    def validation_data(self, chosen: Compute, batches, size: int):
        return PaddedBatches(batches, -(-size // chosen.replicas) * chosen.replicas)

    def is_local(self, variable) -> bool:
        return False

    def check_xla(self, model, images, labels) -> str:
        return f"XLA: on, as {self.name} has it"

    def on_device(self, model) -> Callable:
        """images -> outputs in inference mode, both on the device."""
        raise NotImplementedError

    def forward(self, model) -> Callable:
        run = self.on_device(model)
        return lambda images: keras.ops.convert_to_numpy(run(np.asarray(images)))

    @property
    def has_accelerator(self) -> bool:
        return self.devices(None)[0] != "CPU"

    @property
    def read_errors(self) -> tuple[type, ...]:
        return super().read_errors if importlib.util.find_spec("tensorflow") else ()

    def is_oom(self, error: BaseException) -> bool:
        text = f"{type(error).__name__} {error}"
        return isinstance(error, MemoryError) or "OutOfMemory" in text or "RESOURCE_EXHAUSTED" in text


class Jax(Other):
    """JAX: several devices compute one step together; XLA always."""

    name = "jax"
    compiles = True

    def devices(self, wanted: int | None) -> tuple[str, int, int]:
        """(kind, how many, compute capability of the oldest). CPU devices are as many as `wanted`."""
        import jax

        if wanted and wanted > 1:
            with suppress(RuntimeError):  # JAX has started already: there is one
                jax.config.update("jax_num_cpu_devices", wanted)
        found = jax.devices()
        able = [int(float(getattr(d, "compute_capability", 0) or 0)) for d in found]
        kind = "CPU" if found[0].platform == "cpu" else "GPU"
        return kind, len(found), min(able)

    def sync_variables(self, model) -> None:
        model.jax_state_sync()

    def rate(self, model) -> float | None:
        return None  # the step's own number is on the device

    def on_device(self, model) -> Callable:
        import jax

        @jax.jit
        def run(trained, others, images):  # weights come in: as constants they would take long to compile
            return model.stateless_call(trained, others, images, training=False)[0]

        kinds = (model.trainable_variables, model.non_trainable_variables)
        return lambda images: run(*([v.value for v in kind] for kind in kinds), images)


class Torch(Other):
    """torch: one device, step by step."""

    name = "torch"

    def devices(self, wanted: int | None) -> tuple[str, int, int]:
        """(kind, how many, compute capability)."""
        import torch

        if torch.cuda.is_available():
            return "GPU", 1, torch.cuda.get_device_capability()[0]
        return "CPU", 1, 0

    def on_device(self, model) -> Callable:
        import torch

        return torch.inference_mode()(lambda images: model(images, training=False))
