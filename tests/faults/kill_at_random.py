"""kill -9 at random instants of a run: python tests/faults/kill_at_random.py [--kills 20] [fit.py options]

Runs the command once unbroken, then again and again in another folder, killed at random instants: every fourth
time counted from the start of the process, import of TensorFlow included, else from the start of the training.
After the last kill it lets the run finish and compares weights' sha256 and history. A run that finishes before is
compared and begun anew. Exit status 0 only if every finished run has the unbroken one's weights and history.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

FIT = Path(__file__).parents[2] / "training" / "fit.py"
DEFAULT = ["--arch", "lenet5_modern", "--epochs", "40", "--save-every", "7"]
TRAINING = "expected duration"


class Run:
    """The command in a process of its own, and when its training began."""

    def __init__(self, folder: Path, options: list[str]):
        command = [sys.executable, str(FIT), *options, "--run", str(folder)]
        self.began, self.lines, self.training = time.monotonic(), [], threading.Event()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith(TRAINING):
                self.trained_from = time.monotonic()
                self.training.set()
        self.training.set()

    def kill_after(self, seconds: float, in_training: bool) -> bool:
        """Kills it so many seconds after its start, or that of its training. False if it has ended before."""
        if in_training:
            self.training.wait()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self.finish() == -9

    def finish(self) -> int:
        """Waits for its end and returns the status."""
        status = self.process.wait()
        self.reader.join()
        self.ended = time.monotonic()
        return status


def numbers(folder: Path) -> tuple:
    """Weights' hash, and the history without speeds and durations."""
    rows = [line.split(",")[:7] for line in (folder / "history.csv").read_text().splitlines()]
    return json.loads((folder / "result.json").read_text())["weights_sha256"], rows


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--kills", type=int, default=20, metavar="N", help="default 20")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the instants; default 0")
    args, options = p.parse_known_args()
    options = options or DEFAULT
    chance, root = random.Random(args.seed), Path(tempfile.mkdtemp())
    first = Run(root / "unbroken", options)
    if first.finish():
        raise SystemExit("\n".join(first.lines))
    whole, training = first.ended - first.began, first.ended - first.trained_from
    wanted, broken = numbers(root / "unbroken"), root / "broken"
    print(f"unbroken: {whole:.1f} s, of which training {training:.1f} s, weights {wanted[0]}", flush=True)
    kills = runs = wrong = 0
    while kills < args.kills or broken.exists():
        run, in_training = Run(broken, options), kills % 4 != 3
        instant = chance.uniform(0, training if in_training else whole)
        if kills < args.kills and run.kill_after(instant, in_training):
            kills += 1
            continued = next((line for line in run.lines if line.startswith("continuing")), "at the start")
            since = "training" if in_training else "start"
            print(f"kill {kills}: {instant:.2f} s after the {since} ({continued})", flush=True)
            continue
        if run.finish():
            print("repeating failed:", *run.lines[-20:], sep="\n")
            return 1
        runs, same = runs + 1, numbers(broken) == wanted
        wrong += not same
        print(
            f"finished after {kills} kills: {'equal' if same else 'DIFFERENT'}: {numbers(broken)[0]}", flush=True
        )
        shutil.rmtree(broken)
    shutil.rmtree(root)
    print(f"{kills} kills, {runs} finished runs, {wrong} with other weights or another history")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
