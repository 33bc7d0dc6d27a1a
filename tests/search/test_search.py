"""Real searches, as a user starts and kills them."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support import ROOT

pytestmark = pytest.mark.slow

TINY = ["--arch", "resnet20", "--set", "image_size=8", "--epochs", "3", "--save-every", "5"]
SPACE = ["--space", "depth=1/2,width=4/8/12,gate,seed=0/1"]
LONGEST = 900


def start(root, *arguments):
    """A search in the background, in a session of its own."""
    command = [sys.executable, "training/tune.py", *TINY, "--run", str(root), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes)


def done(process):
    """(status, what it printed, what it complained about)."""
    out, err = process.communicate(timeout=LONGEST)
    return process.returncode, out, err


def until(condition, process):
    began = time.monotonic()
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < LONGEST
        time.sleep(0.2)


def results(root):
    return {p.parent.name: p.stat().st_mtime_ns for p in (root / "trials").glob("*/result.json")}


def checkpoints(root):
    return [
        p for p in (root / "trials").glob("*/checkpoints/step_*") if not (p.parent.parent / "result.json").exists()
    ]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """12 trials, two workers: killed once the hard way within a trial, once told to stop; then to the end."""
    root = tmp_path_factory.mktemp("search") / "run"
    options = [*SPACE, "--trials", "12", "--parallel", "2", "--keep", "2"]
    first = start(root, *options)
    until(lambda: len(results(root)) >= 2 and checkpoints(root), first)
    first.kill()  # its workers find out by themselves
    first.communicate()
    kept = [results(root)]
    second = start(root, *options)
    until(lambda: len(results(root)) >= len(kept[0]) + 3 and checkpoints(root), second)
    second.send_signal(signal.SIGINT)
    told = done(second)
    kept.append(results(root))
    # A state file of KerasTuner and a table are damaged on top; neither is needed.
    (root / "oracle" / "oracle.json").write_text('{"ongoing')
    (root / "trials.csv").write_text("x")
    last = done(start(root, *options))
    return root, kept, told, last


def test_it_ends(searched):
    root, _, told, last = searched
    assert told[0] == 130, told
    assert f"continue with: python training/tune.py {' '.join(TINY)}" in told[2]
    assert last[0] == 0, last
    assert last[1].splitlines()[-1].startswith("done: 12 trials, 0 failed, best ")
    assert len(results(root)) == 12


def test_no_trial_was_run_twice(searched):
    root, kept, _, _ = searched
    final = results(root)
    for before in kept:  # what had ended was left alone
        assert {name: final[name] for name in before} == before
    for folder in (root / "trials").iterdir():
        log = (folder / "log.txt").read_text()
        # Each epoch once; only the measuring at the end may be repeated, if it was interrupted.
        assert [log.count(f"epoch {n}/3") for n in (1, 2, 3)] == [1, 1, 1], folder
    chosen = [json.dumps(json.loads(p.read_text())["chosen"]) for p in (root / "trials").glob("*/trial.json")]
    assert len(set(chosen)) == 12


def test_open_trials_went_on_from_their_checkpoints(searched):
    root, *_ = searched
    logs = [p.read_text() for p in (root / "trials").glob("*/log.txt")]
    assert sum("continuing after epoch" in log for log in logs) >= 2


def test_what_it_leaves(searched):
    root, _, _, _ = searched
    with open(root / "trials.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert {row["status"] for row in rows} == {"done"}
    best = max(float(row["val_top1"]) for row in rows)
    assert json.loads((root / "best" / "result.json").read_text())["val"]["top1"] == best
    assert len(list((root / "trials").glob("*/model.keras"))) == 2
    assert not list((root / "trials").glob("*/checkpoints/step_*"))
    assert all((root / name).stat().st_size > 5_000 for name in ("pareto.png", "parallel.png"))
    report = (root / "report.md").read_text(encoding="utf-8")
    assert "## Means over seeds and splits" in report
    assert f"`python training/fit.py --like {root}/best --run {root}/again`" in report


def test_its_best_is_an_ordinary_run(searched):
    root, _, _, _ = searched
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run(*command):
        found = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stderr
        return found.stdout

    result = json.loads((root / "best" / "result.json").read_text())
    measured = json.loads(run("training/evaluate.py", "--run", str(root / "best"), "--json"))
    assert measured["top1"] == result["test"]["top1"]
    run("training/fit.py", "--like", str(root / "best"), "--run", str(root / "again"))
    again = json.loads((root / "again" / "result.json").read_text())
    assert again["arch"] == result["arch"]
    assert again["test"]["top1"] == pytest.approx(
        result["test"]["top1"], abs=0.02
    )  # other threads, other rounding


def test_another_search_is_refused(searched):
    root, _, _, _ = searched
    status, _, err = done(start(root, "--space", "depth=1/2"))
    assert status == 2
    assert "holds another search" in err
    status, out, _ = done(start(root, *SPACE, "--trials", "12", "--parallel", "2"))
    assert status == 0
    assert "continuing: 12 trials have ended, 0 are open" in out


def test_failures_are_recorded_and_the_search_goes_on(tmp_path):
    """Most rates are far too large: NaN after NaN, more in a row than KerasTuner allows."""
    rates = "recipe.optimizer.rate=1e9/2e9/3e9/4e9/5e9/0.05"
    status, out, err = done(start(tmp_path / "run", "--space", rates, "--trials", "6", "--seed", "3"))
    assert status == 0, err
    assert out.splitlines()[-1].startswith("done: 1 trials, 5 failed, best ")
    with open(tmp_path / "run" / "trials.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all(
        "the loss is" in row["why"] or "not finite" in row["why"] for row in rows if row["status"] == "failed"
    )


def test_a_trial_that_kills_its_process_is_given_up(tmp_path):
    """As the operating system does when memory runs out."""
    search = start(tmp_path / "run", "--space", "depth=1/2/3", "--trials", "3", "--epochs", "20")
    killed = []

    def workers():
        found = subprocess.run(["pgrep", "-P", str(search.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]

    log = tmp_path / "run" / "trials" / "0000" / "log.txt"

    def training(starts):
        return log.exists() and log.read_text().count("expected duration") == starts

    for starts in (1, 2):
        until(lambda starts=starts: training(starts), search)
        pid = next(p for p in workers() if p not in killed)
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
    status, out, err = done(search)
    assert status == 0, err
    assert "its process crashed 2 times (signal 9): out of memory?" in out
    assert "done: 2 trials, 1 failed" in out
