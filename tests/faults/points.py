"""Points at which a command may be struck, mostly by death; `forked.py` sets one up in the child."""

import errno
import io
import itertools
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np

from training.report import folder
from training.run_folder import checkpoints
from training.trainer import checkpoint_saver, finish


def die() -> None:
    """kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner, name: str, act):
    """Wraps a function: the count-th call first acts."""

    def strike(count: int) -> None:
        calls, original = [], getattr(owner, name)

        def wrapped(*args, **options):
            calls.append(1)
            if len(calls) == count:
                act()
            return original(*args, **options)

        setattr(owner, name, wrapped)

    return strike


def after(owner, name: str):
    """Wraps a function: death after the count-th call."""

    def strike(count: int) -> None:
        calls, original = [], getattr(owner, name)

        def wrapped(*args, **options):
            result = original(*args, **options)
            calls.append(1)
            if len(calls) == count:
                die()
            return result

        setattr(owner, name, wrapped)

    return strike


def mid_write(count: int) -> None:
    """Death with half of the tensors in the file."""
    calls, original = [], np.savez

    def half(file, **arrays):
        calls.append(1)
        if len(calls) < count:
            return original(file, **arrays)
        whole = io.BytesIO()
        original(whole, **arrays)
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        file.flush()
        die()

    np.savez = half


def full() -> None:
    """No space on the disk."""
    raise OSError(errno.ENOSPC, "No space left on device")


def broken() -> None:
    """A callback with a mistake."""
    raise RuntimeError("a callback with a mistake")


def jumping_clock() -> None:
    """The time of day leaps to and fro, from 1982 to 2096; .keras files, being ZIP archives, begin in 1980."""
    times = itertools.cycle([1e9, 4e8, 4e9, 5e8])
    time.time = lambda: next(times)


POINTS = {
    "before_tmp": before(checkpoints, "save", die),
    "mid_write": mid_write,
    "before_fsync": before(checkpoints, "sync", die),
    "before_rename": before(os, "rename", die),
    "after_rename": after(os, "rename"),
    "before_prune": before(checkpoints, "prune", die),
    "batch": after(checkpoint_saver.ProgressCounter, "on_train_batch_end"),
    "validation": before(checkpoint_saver.CheckpointSaver, "on_test_begin", die),
    "validated": before(checkpoint_saver.CheckpointSaver, "on_test_end", die),
    "epoch_end": before(checkpoint_saver.CheckpointSaver, "on_epoch_end", die),
    "history": after(folder.History, "append"),
    "conclude": before(finish, "write_json", die),
    "full": before(np, "savez", full),
    "full_history": before(folder, "write_text", full),
    "raise": before(checkpoint_saver.CheckpointSaver, "on_train_batch_end", broken),
    "term": before(
        checkpoint_saver.ProgressCounter, "on_train_batch_end", lambda: os.kill(os.getpid(), signal.SIGTERM)
    ),
    "int": before(
        checkpoint_saver.ProgressCounter, "on_train_batch_end", lambda: os.kill(os.getpid(), signal.SIGINT)
    ),
    "term_validation": before(
        checkpoint_saver.CheckpointSaver, "on_test_begin", lambda: os.kill(os.getpid(), signal.SIGTERM)
    ),
    "int_validation": before(
        checkpoint_saver.CheckpointSaver, "on_test_begin", lambda: os.kill(os.getpid(), signal.SIGINT)
    ),
    "rmlogs": before(
        checkpoint_saver.CheckpointSaver, "on_epoch_end", lambda: shutil.rmtree(Path(sys.argv[-1]) / "tensorboard")
    ),
    "rmrun": before(checkpoint_saver.CheckpointSaver, "on_epoch_end", lambda: shutil.rmtree(sys.argv[-1])),
    "clock": lambda count: jumping_clock(),
}


def strike(fault: str) -> None:
    """Sets up "point" or "point:count": it strikes the count-th time."""
    point, _, count = fault.partition(":")
    POINTS[point](int(count or 1))
