"""One run in several processes: who has the run folder, and what must be equal in all of them."""

import contextlib
import hashlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras

from training.engine.cluster import Communicator
from training.errors import usage_errors
from training.processes import Pending, Terminated
from training.run_folder.claim import acquire
from training.run_folder.config import fixed_fields
from training.trainer.checkpoint_saver import SaveInterval

POLL_STEPS = 10  # between two exchanges
SAVES = "checkpoints: after every epoch (by --save-every STEPS within one; clocks differ between workers)"


class SignalSync(keras.callbacks.Callback):
    """Makes all workers handle a signal after the same step, and feeds the watchdog.

    It runs before what saves: a worker that saves alone waits for the others for ever.

    Args:
        own: the signal that this process received.
        common: the one that all workers have agreed on.
    """

    def __init__(self, communicator: Communicator, own: Pending, common: Pending):
        super().__init__()
        self.communicator, self.own, self.common, self.steps = communicator, own, common, 0

    def on_train_batch_end(self, batch, logs=None):
        self.communicator.alive()
        self.steps += 1
        if self.steps % POLL_STEPS == 0:
            self.agree()

    def on_test_batch_end(self, batch, logs=None):
        self.communicator.alive()

    def on_epoch_end(self, epoch, logs=None):
        self.agree()

    def agree(self) -> None:
        """Sums over the workers which signals have come."""
        kinds = (signal.SIGINT, signal.SIGTERM)
        received = self.communicator.total([self.own.number == kind for kind in kinds])
        self.common.number = next((kind for kind, n in zip(kinds, received, strict=True) if n), None)


def take_part(args, spec, train: Callable) -> None:
    """What `fit.py` does in each of several processes: the chief in the run folder, the others in a temporary one.

    Args:
        spec: the `RunSpec`.
        train: (spec, folder, echo=stream) -> None, as a single process trains.
    """
    every = SaveInterval(args.save_every[0], None)  # by steps only
    spec = replace(spec, options=(("every", every),))
    compute, communicator = spec.compute, spec.compute.communicator
    with compute.peers(), contextlib.ExitStack() as stack:
        communicator.assert_equal_config({**facts(spec), "save-every": every.steps, "dry run": args.dry_run})
        if compute.group.chief and not args.dry_run:
            with usage_errors():
                folder, result, held = acquire(args.run, spec.config)
            if communicator.total([result is not None])[0]:
                print(f"this run is finished already\n{spec.task.summary(result, folder)}")
                return communicator.close()
            stack.enter_context(held)
        else:
            if not args.dry_run and communicator.total([0])[0]:
                return communicator.close()
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keras_cnns-worker-")))
            (folder / "checkpoints").mkdir()
        if not compute.group.chief:
            print(f"worker {compute.group.index} of {compute.group.count}: {compute.group.workers[0]} has the run")
            sys.stdout.flush()
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        communicator.broadcast_files(folder / "checkpoints")
        try:
            train(spec, folder, echo=sys.stdout)
        except (KeyboardInterrupt, Terminated) as stop:
            raise stop if compute.group.chief else type(stop)() from None  # its folder is not the run's
        communicator.close()


def facts(spec) -> dict:
    """What must be equal on all workers, by name."""
    import tensorflow as tf

    config, splits = spec.config, spec.task.splits
    labels = {s: hashlib.sha256(getattr(spec.data, s).labels.tobytes()).hexdigest()[:12] for s in splits}
    versions = {"keras_cnns": config.version, "keras": keras.__version__, "tensorflow": tf.__version__}
    asked = {"workers": config.workers, "xla": config.xla, **{f"{s} labels": v for s, v in labels.items()}}
    return {**{k: str(v) for k, v in fixed_fields(config).items()}, **asked, **versions}
