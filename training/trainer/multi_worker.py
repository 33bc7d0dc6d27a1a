"""A run in which several processes take part: who writes where, who is told what."""

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras

from training.classification.config import Config
from training.classification.task import SPLITS
from training.data.dataset import DataSet
from training.engine.devices import Compute
from training.errors import usage_errors
from training.processes import Terminated
from training.run_folder.claim import acquire
from training.run_folder.config import fixed

EVERY = "checkpoints: after every epoch (by --save-every STEPS within one; clocks differ between workers)"


def take_part(args, config: Config, data: DataSet, compute: Compute, notes: list, work: Callable):
    """What `fit.py` does in each of several processes: the chief in the run folder, the others in a lost one.

    Args:
        work: of `fit.py`, for a single process.
    """
    from training.trainer.finish import summary

    wire, every = compute.communicator, (args.save_every[0], None)  # by steps only
    with compute.peers(), contextlib.ExitStack() as stack:
        wire.assert_equal_config({**facts(config, data), "save-every": every[0], "dry run": args.dry_run})
        if compute.group.chief and not args.dry_run:
            with usage_errors():
                folder, result, held = acquire(args.run, config)
            if wire.total([result is not None])[0]:
                print(f"this run is finished already\n{summary(result, folder)}")
                return wire.close()
            stack.enter_context(held)
        else:
            if not args.dry_run and wire.total([0])[0]:
                return wire.close()
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keras_cnns-worker-")))
            (folder / "checkpoints").mkdir()
        if not compute.group.chief:
            print(f"worker {compute.group.index} of {compute.group.count}: {compute.group.workers[0]} has the run")
            sys.stdout.flush()
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        wire.broadcast_files(folder / "checkpoints")
        try:
            work(folder, config, data, compute, [*notes, EVERY], every)
        except (KeyboardInterrupt, Terminated) as stop:
            raise stop if compute.group.chief else type(stop)() from None  # its folder is not the run's
        wire.close()
    if args.dry_run:
        print("dry run: one step of everything worked; nothing was kept")


def facts(config: Config, data: DataSet) -> dict:
    """What must be equal on all workers, by name."""
    import tensorflow as tf

    labels = {f"{s} labels": hashlib.sha256(getattr(data, s).labels.tobytes()).hexdigest()[:12] for s in SPLITS}
    versions = {"keras_cnns": config.version, "keras": keras.__version__, "tensorflow": tf.__version__}
    asked = {"workers": config.workers, "xla": config.xla}
    return {**{k: str(v) for k, v in fixed(config).items()}, **asked, **labels, **versions}
