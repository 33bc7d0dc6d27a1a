"""Pruning as a user does it: killed, repeated, evaluated, exported; two ways."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from broken_runs import calls, outcome

pytestmark = pytest.mark.slow

FIT = ["--arch", "lenet5_modern", "--epochs", "4", "--set", "optimizer=sgd"]


def prune(root, out, *more, fault=None):
    args = ["--run", root / "run", "--keep-macs", "0.6", "--epochs", "3", "--out", root / out, *more]
    return {"command": "prune.py", "args": args, "fault": fault}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(folder, what each start printed)."""
    root = tmp_path_factory.mktemp("prune")
    lines = [
        {"command": "fit.py", "args": [*FIT, "--run", root / "run"]},
        prune(root, "a"),
        prune(root, "b", fault="batch:30"),
        prune(root, "b", fault="conclude:2"),
        prune(root, "b"),
        prune(root, "b"),
        prune(root, "c", "--method", "magnitude"),
        {"command": "evaluate.py", "args": ["--run", root / "a", "--json"]},
        prune(root, "a", "--keep-macs", "0.7"),
        prune(root, "d", "--keep-macs", "0.01"),
    ]
    return root, calls(lines, root)


def test_the_result_is_a_run_with_fewer_macs(runs):
    root, done = runs
    assert [d["status"] for d in done] == [0, 0, -9, -9, 0, 0, 0, 0, 2, 2], [d["err"][-500:] for d in done]
    before, after = (json.loads((root / f / "result.json").read_text()) for f in ("run", "a"))
    assert after["macs"] <= 0.6 * before["macs"]
    assert (after["arch"], after["recipe"], after["finished"]) == ("lenet5_modern_pruned", "resrep", True)
    assert json.loads(done[7]["out"])["top1"] == after["test"]["top1"]
    record = json.loads((root / "a" / "pruning.json").read_text())
    assert record["with_compactors"]["top1"] == pytest.approx(
        after["test"]["top1"], abs=0.1
    )  # so short a run leaves its rows standing
    assert record["widths"] == {"conv1": [3, 6]}, "what conv2 alone reads"
    said = done[1]["out"]
    assert "on masked rows, 0.0001 on the others" in said
    assert said.splitlines()[-1].startswith("done: ")
    assert "of the MACs" in said.splitlines()[-1]


def test_killed_and_repeated_it_ends_alike(runs):
    root, done = runs
    assert outcome(root / "b") == outcome(root / "a")
    assert "continuing after epoch 1 of 3" in done[3]["out"]
    assert "already finished" in done[5]["out"]
    assert done[5]["out"].splitlines()[-1] == done[4]["out"].splitlines()[-1]


def test_small_weights_for_comparison(runs):
    root, _ = runs
    before, after = (json.loads((root / f / "result.json").read_text()) for f in ("run", "c"))
    assert after["macs"] <= 0.6 * before["macs"]
    assert after["recipe"] == "magnitude"
    assert not (root / "c" / "compactors").exists()


def test_what_cannot_be_asked(runs):
    _, done = runs
    assert "holds another pruning (keep_macs: 0.6 here, 0.7 asked); give another --out" in done[8]["err"]
    assert "--keep-macs must be below 1 and above" in done[9]["err"]
    assert all(len(d["err"].strip().splitlines()) == 1 for d in done[8:])
