"""Runs many command lines of the commands in one process, which read the same data and networks. Prints JSON."""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

TRAINING = Path(__file__).parents[2] / "training"


def run(command: str, *args: str) -> dict:
    """Exit status, stdout and stderr of one command line."""
    out, err = io.StringIO(), io.StringIO()
    sys.argv = [str(TRAINING / command), *args]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
            status = None
        except SystemExit as leaving:
            status = leaving.code
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    print(json.dumps([run(*line) for line in json.load(sys.stdin)]))
