"""Sequences of command lines in forked children, and what a run folder says in the end."""

import csv
import json
from pathlib import Path

import forked

SMALL = ["--arch", "lenet5_modern", "--epochs", "3", "--save-every", "5"]
TRAINING = Path(__file__).parents[2] / "training"


def calls(lines: list[dict], cwd, timeout: float = 3000) -> list[dict]:
    """Runs command lines, each {"command", "args", "fault"}, in turn; faults are points of `points.py`."""
    found = []
    for line in lines:
        words = [TRAINING / line["command"], *line["args"]]
        done = forked.run(words, cwd=cwd, fault=line.get("fault"), timeout=timeout)
        found.append({"status": done.returncode, "out": done.stdout, "err": done.stderr})
    return found


def fits(folder, faults: list, args=SMALL) -> list[dict]:
    """The same training command once for each fault; None strikes not."""
    return [{"command": "fit.py", "args": [*args, "--run", folder], "fault": fault} for fault in faults]


def outcome(folder) -> tuple:
    """What must not depend on how often a run was interrupted: weights, figures, the history's numbers."""
    result = json.loads((folder / "result.json").read_text())
    with open(folder / "history.csv", newline="") as file:
        rows = [(r["epoch"], r["step"], r["loss"], r["top1"], r["val_loss"], r["val_top1"], r["rate"])
                for r in csv.DictReader(file)]  # fmt: skip
    return result["weights_sha256"], result["train"], result["val"], result["test"], rows
