"""Taking a run folder: what may lie in it, who holds it, whether it can be written."""

import fcntl
import os
import subprocess
import sys

import pytest

from training.run_folder import claim
from training.run_folder.lock import UNSUPPORTED, Busy, Lock

HOLD = """
import sys, time
from training.run_folder.lock import Lock
lock = Lock(sys.argv[1])
print("held", flush=True)
time.sleep(600)
"""
# How version 0.1.0 locks: the holder's name stands in the locked file.
HOLD_0_1_0 = """
import fcntl, os, sys, time
file = open(sys.argv[1] + "/lock", "a+")
fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
file.write(f"process {os.getpid()} on old\\n")
file.flush()
print("held", flush=True)
time.sleep(600)
"""


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_trace(tmp_path):
    first = claim.lock_folder(tmp_path / "run")
    with pytest.raises(ValueError, match=rf"another run is at work in .*run \(process {os.getpid()} on "):
        claim.lock_folder(tmp_path / "run")
    first.close()
    claim.lock_folder(tmp_path / "run").close()


@pytest.mark.parametrize("version", [HOLD, HOLD_0_1_0])
def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path, version):
    holder = subprocess.Popen([sys.executable, "-c", version, tmp_path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(Busy, match=f"process {holder.pid} on "):
        Lock(tmp_path)
    holder.kill()
    holder.communicate()
    lock = Lock(tmp_path)
    with pytest.raises(Busy, match=f"process {os.getpid()} on "):
        Lock(tmp_path)
    with open(tmp_path / "lock") as file, pytest.raises(BlockingIOError):  # as version 0.1.0 asks
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.close()
    assert [p.name for p in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("code", sorted(UNSUPPORTED))
def test_a_file_system_without_locks_refuses_nobody(tmp_path, monkeypatch, code):
    def flock(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with Lock(tmp_path), Lock(tmp_path):
        assert (tmp_path / "lock.holder").exists()


def test_what_a_run_killed_in_its_first_moment_left_is_no_obstacle(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "lock").touch()
    (tmp_path / ".config.json.12ab.tmp").write_text("{")
    claim.check_folder(tmp_path)
    with claim.lock_folder(tmp_path):
        assert [p.name for p in tmp_path.iterdir()] == ["checkpoints"], "half-written files are removed"


@pytest.mark.parametrize("name", ["notes.txt", "checkpoints/other"])
def test_other_files_are(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match="new, an empty or a run's folder"):
        claim.check_folder(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    """As root every folder can be written; a file in the way cannot."""
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        claim.lock_folder(tmp_path)
    (tmp_path / "run").mkdir(mode=0o555)
    if os.geteuid():
        with pytest.raises(ValueError, match="cannot be written: Permission denied"):
            claim.lock_folder(tmp_path / "run")
