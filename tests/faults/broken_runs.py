"""Sequences of command lines in one forking process, and what a run folder says in the end."""

import csv
import json
import subprocess
import sys
from pathlib import Path

SMALL = ["--arch", "lenet5_modern", "--epochs", "3", "--save-every", "5"]
FORKS = Path(__file__).with_name("forks.py")


def calls(lines: list[dict], cwd, timeout: float = 900) -> list[dict]:
    """Runs command lines, each {"door", "args", "fault"}, in turn; see `forks.py`."""
    lines = [{**line, "args": [str(a) for a in line["args"]]} for line in lines]
    done = subprocess.run(
        [sys.executable, FORKS], input=json.dumps(lines), capture_output=True, text=True, cwd=cwd, timeout=timeout
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def fits(folder, faults: list, args=SMALL) -> list[dict]:
    """The same training command once for each fault; None strikes not."""
    return [{"door": "fit.py", "args": [*args, "--run", folder], "fault": fault} for fault in faults]


def outcome(folder) -> tuple:
    """What must not depend on how often a run was interrupted: weights, figures, the history's numbers."""
    result = json.loads((folder / "result.json").read_text())
    with open(folder / "history.csv", newline="") as file:
        rows = [(r["epoch"], r["step"], r["loss"], r["top1"], r["val_loss"], r["val_top1"], r["rate"])
                for r in csv.DictReader(file)]  # fmt: skip
    return result["weights_sha256"], result["train"], result["val"], result["test"], rows
