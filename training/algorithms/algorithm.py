"""`Algorithm`: how a network is trained beyond plain gradient descent."""

from collections.abc import Callable
from typing import ClassVar, Self

import keras

from keras_cnns.architecture import Architecture
from keras_cnns.values import Value


class Algorithm(Value):
    """One way to change training, as a field of a recipe: fine-tuning, ResRep.

    The trainer calls `attach` before the first step, adds `callbacks` to its own, and calls `detach` after the
    last step. An algorithm has no state of its own: all that it changes is in weights of the model or follows from
    the epoch. So checkpoints need nothing more, and a resumed run equals an uninterrupted one.

    Attributes:
        needs_weights: whether training starts from weights that were trained before.
        head_epochs: epochs at the start that early stopping does not count.
    """

    needs_weights: ClassVar[bool] = False
    head_epochs: int = 0

    def scaled(self, by: float) -> Self:
        """The same algorithm for a recipe `by` times as long."""
        return self

    def check_network(self, architecture: Architecture) -> None:
        """Raises ValueError for a network that it cannot train."""

    def attach(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        """Changes the model that trains and its optimizer, before the optimizer is built."""

    def callbacks(self, progress, say: Callable[[str], None]) -> list[keras.callbacks.Callback]:
        """Callbacks that run before those of the trainer.

        Args:
            progress: the run's `ProgressCounter`.
            say: writes a line to the log.
        """
        return []

    def detach(self, model: keras.Model) -> None:
        """Undoes in the model what must not be saved with it."""
