"""What the workers of a group do at the same step or not at all."""

import signal

import keras

from training.engine.cluster import Communicator
from training.processes import Pending

POLL_STEPS = 10  # steps between two questions


class SignalSync(keras.callbacks.Callback):
    """Makes a signal that came to one worker one that all act on, after the same step, and feeds the watchdog.

    Comes before what saves: a worker that saved alone would wait for the others for ever.

    Args:
        own: the signal that came here.
        common: the one that all have heard of.
    """

    def __init__(self, wire: Communicator, own: Pending, common: Pending):
        super().__init__()
        self.wire, self.own, self.common, self.steps = wire, own, common, 0

    def on_train_batch_end(self, batch, logs=None):
        self.wire.alive()
        self.steps += 1
        if self.steps % POLL_STEPS == 0:
            self.ask()

    def on_test_batch_end(self, batch, logs=None):
        self.wire.alive()

    def on_epoch_end(self, epoch, logs=None):
        self.ask()

    def ask(self) -> None:
        """Adds up who has heard of which signal."""
        kinds = (signal.SIGINT, signal.SIGTERM)
        heard = self.wire.total([self.own.number == kind for kind in kinds])
        self.common.number = next((kind for kind, n in zip(kinds, heard, strict=True) if n), None)
