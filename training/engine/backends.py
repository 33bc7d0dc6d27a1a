"""`backend` is the Keras backend in use (KERAS_BACKEND); `Backend` is the interface of the three.

TensorFlow supports everything. JAX and torch train by Keras' `fit`, read images in memory by NumPy and all others
by tf.data, if TensorFlow is installed, and refuse in one line what they do not support (docs/engines.md).
"""

from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np

from training.data.readers import Reader
from training.engine.backend_jax_torch import Jax, Torch
from training.engine.backend_tensorflow import TensorFlow
from training.engine.devices import ALONE, Compute
from training.recipes.schedules import Rate


class Backend(Protocol):
    """All in which the backends differ."""

    name: str  # as in KERAS_BACKEND
    always_xla: bool  # XLA compiles every step, whatever the options say
    model_class: type[keras.Model]  # the model that trains
    array_reader: Reader  # resizes images that are in memory
    can_probe_batch_size: bool  # smaller batches can be tried after running out of memory

    def check_supported(self, args, recipe) -> None:
        """Raises ValueError for options and recipes that this backend does not support."""

    def choose(
        self, replicas: int | None, precision: str, xla: str, deterministic: bool, group=ALONE, norms: str = "own"
    ) -> Compute:
        """Chooses devices, precision and XLA; see `devices.choose`."""

    def reader(self, split, augment=(), mix=None, repeats: int = 1, growing=None) -> Reader:
        """The input pipeline that makes batches of a split with this augmentation."""

    def read_image(self, path: str, turn: int) -> np.ndarray:
        """An image file as uint8 (h, w, 3), turned upright by its EXIF orientation."""

    def build_model(self, inputs, outputs, recipe, loss_weights, preprocess) -> keras.Model:
        """The model that trains, not yet compiled; it preprocesses its images itself."""

    def optimizer(self, recipe, rate: Rate, model) -> keras.optimizers.Optimizer:
        """The recipe's optimizer for that model."""

    def training_data(self, compute: Compute, batches, size: int, model) -> Any:
        """A training stream as `fit` takes it."""

    def validation_data(self, compute: Compute, batches, size: int) -> Any:
        """Validation batches as `fit` takes them, any number of times."""

    def check_xla(self, model, images, labels) -> str:
        """Turns XLA off if the step does not compile; returns a line for the log."""

    def sync_variables(self, model) -> None:
        """Writes the values of the last step to the model's variables."""

    def learning_rate(self, model) -> float | None:
        """The learning rate of the current step; None if reading it would cost time."""

    def is_local(self, variable) -> bool:
        """Whether every replica has its own value of the variable."""

    def forward(self, model) -> Callable:
        """A function images -> outputs in inference mode, compiled once for any batch size."""

    @property
    def has_accelerator(self) -> bool:
        """Whether this machine has more than a CPU."""

    @property
    def read_errors(self) -> tuple[type, ...]:
        """What reading of files raises during training."""

    def is_oom(self, error: BaseException) -> bool:
        """Whether memory ran out."""


BACKENDS: tuple[Backend, ...] = (TensorFlow(), Jax(), Torch())
backend = {each.name: each for each in BACKENDS}[keras.backend.backend()]
