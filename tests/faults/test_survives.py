"""Faults that are no death: a full disk, vanished folders, mistakes in callbacks, a plain locale, damage."""

import os
import subprocess
import sys

import pytest
from broken_runs import SMALL, TRAINING, calls, fits, outcome

pytestmark = pytest.mark.slow

FIT = TRAINING / "fit.py"
FAULTS = {
    "full": (["full:3", None], 1, "cannot be written (No space left on device); the last good one is kept"),
    "full_at_once": (["full:1", None], 1, "cannot be written (No space left on device)"),
    "full_history": (["full_history:3", None], 1, "No space left on device"),
    "raise": (["raise:12", None], 99, "a callback with a mistake"),
    "rmlogs": (["rmlogs:1"], 0, ""),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Outcomes of all calls, by fault, and the folder above the runs."""
    root = tmp_path_factory.mktemp("survives")
    sequences = {"unbroken": [None], **{name: faults for name, (faults, _, _) in FAULTS.items()}}
    found = iter(calls([line for n, f in sequences.items() for line in fits(root / n, f)], root))
    return {name: [next(found) for _ in faults] for name, faults in sequences.items()}, root


@pytest.mark.parametrize("name", FAULTS)
def test_stops_with_its_reason_and_goes_on_when_repeated(runs, name):
    done, root = runs
    _, status, says = FAULTS[name]
    assert done[name][0]["status"] == status, done[name][0]["err"]
    assert says in done[name][0]["err"]
    if status == 1:
        assert "Traceback" not in done[name][0]["err"]
    assert done[name][-1]["status"] == 0
    assert outcome(root / name) == outcome(root / "unbroken")


def test_a_vanished_run_folder_stops_the_run_in_one_line(tmp_path):
    (done,) = calls(fits(tmp_path / "run", ["rmrun:1"]), tmp_path)
    assert done["status"] == 1
    assert "Traceback" not in done["err"]
    assert "cannot be written" in done["err"]


def test_a_damaged_checkpoint_costs_an_interval_and_is_said(tmp_path):
    (first,) = calls(fits(tmp_path / "broken", ["batch:33"]), tmp_path)
    assert first["status"] == -9
    newest = max((tmp_path / "broken" / "checkpoints").glob("step_*")) / "tensors.npz"
    data = bytearray(newest.read_bytes())
    data[len(data) // 3] ^= 16
    newest.write_bytes(data)
    done = calls([*fits(tmp_path / "unbroken", [None]), *fits(tmp_path / "broken", [None])], tmp_path)
    assert "checkpoint step_00000029 is damaged (tensors.npz has another sha256" in done[1]["out"]
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "unbroken")


def test_a_plain_locale(tmp_path):
    """A real process, since Python reads its arguments by the locale; the folder's name is beyond it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))}
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, FIT, "--arch", "lenet5", "--epochs", "1", "--run", tmp_path / "Zürich"]
    done = subprocess.run(command, capture_output=True, env=environment | plain)
    assert done.returncode == 0, done.stderr[-2000:]
    assert b"done: test top-1" in done.stdout
    assert (tmp_path / "Zürich" / "result.json").is_file()


def test_two_runs_at_once(tmp_path):
    """The second is refused while the first works; when the first is killed, the folder is free."""
    command = [
        sys.executable,
        FIT,
        *SMALL,
        "--epochs",
        "400",
        "--run",
        tmp_path / "run",
    ]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not first.stdout.readline().startswith("expected duration"):
            assert first.poll() is None, first.stderr.read()
        second = subprocess.run(command, capture_output=True, text=True)
        assert second.returncode == 2
        assert f"another run is at work in {tmp_path / 'run'} (process {first.pid} on " in second.stderr
        assert second.stderr.count("\n") == 1
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
    (third,) = calls(fits(tmp_path / "run", ["term:2"], [*SMALL, "--epochs", "400"]), tmp_path)
    assert third["status"] == 143
