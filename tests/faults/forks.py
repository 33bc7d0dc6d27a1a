"""Runs command lines of the doors in forked children, some of which die at a named point. Prints JSON.

TensorFlow is imported once, before the forks, and used in the children only; so a run costs little more than its
own work. Reads a list of {"door", "args", "fault"} from stdin, runs them in turn, and prints for each its exit
status (negative for a signal), stdout, stderr and seconds. A fault is "point" or "point:count": it strikes the
count-th time.
"""

import errno
import io
import itertools
import json
import os
import runpy
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from training.report import folder
from training.run_folder import checkpoints
from training.trainer import checkpoint_saver, finish

TRAINING = Path(__file__).parents[2] / "training"


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


def work(door: str, args: list[str], fault: str | None) -> None:
    """What the child does; never returns."""
    if fault:
        point, _, count = fault.partition(":")
        POINTS[point](int(count or 1))
    sys.argv = [str(TRAINING / door), *args]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as leaving:
        status = leaving.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def call(door: str, args: list[str], fault: str | None = None) -> dict:
    """One command line in a child."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            work(door, args, fault)
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    seconds = time.perf_counter() - began
    return {"status": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1], "seconds": seconds}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps([call(**each) for each in asked]))
