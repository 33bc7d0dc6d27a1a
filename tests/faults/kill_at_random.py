"""kill -9 at random instants of a run: python tests/faults/kill_at_random.py [--kills 20] [fit.py options]

Runs the command once unbroken, then again and again in another folder, each time killed at a random instant after
its start, import of TensorFlow included, until it has been killed often enough; then lets it finish and compares
the weights' sha256 and the history. A run that finishes before the last kill is compared and begun anew. Exit
status 0 only if every finished run has the weights of the unbroken one.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIT = Path(__file__).parents[2] / "training" / "fit.py"
DEFAULT = ["--arch", "lenet5_modern", "--epochs", "10", "--save-every", "5"]


def start(folder: Path, options: list[str]) -> subprocess.Popen:
    """The command, in a process of its own."""
    command = [sys.executable, str(FIT), *options, "--run", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(folder: Path, options: list[str]) -> dict:
    """Runs the command to its end and returns the result."""
    process = start(folder, options)
    _, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"the run in {folder} ended with status {process.returncode}: {err[-2000:]}")
    return json.loads((folder / "result.json").read_text())


def numbers(folder: Path) -> list[list[str]]:
    """The history without speeds and durations."""
    return [line.split(",")[:7] for line in (folder / "history.csv").read_text().splitlines()]


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--kills", type=int, default=20, metavar="N", help="default 20")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the instants; default 0")
    args, options = p.parse_known_args()
    options = options or DEFAULT
    chance = random.Random(args.seed)
    root = Path(tempfile.mkdtemp())
    began = time.monotonic()
    unbroken = finish(root / "unbroken", options)
    length = time.monotonic() - began
    print(f"unbroken: {length:.1f} s, weights {unbroken['weights_sha256']}", flush=True)
    kills = runs = wrong = 0
    while kills < args.kills or (root / "broken").exists():
        process = start(root / "broken", options)
        try:
            instant = chance.uniform(0, length) if kills < args.kills else None
            out, err = process.communicate(timeout=instant)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            out, err = process.communicate()
            kills += 1
            where = next((line for line in out.splitlines() if line.startswith("continuing")), "from the start")
            print(f"kill {kills} after {instant:.2f} s ({where})", flush=True)
            continue
        if process.returncode:
            print(f"repeating failed with status {process.returncode}: {err[-2000:]}")
            return 1
        runs += 1
        found = json.loads((root / "broken" / "result.json").read_text())["weights_sha256"]
        same = found == unbroken["weights_sha256"] and numbers(root / "broken") == numbers(root / "unbroken")
        wrong += not same
        print(f"finished after {kills} kills: weights {found}: {'equal' if same else 'DIFFERENT'}", flush=True)
        shutil.rmtree(root / "broken")
    shutil.rmtree(root)
    print(f"{kills} kills, {runs} finished runs, {wrong} with other weights or another history")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
