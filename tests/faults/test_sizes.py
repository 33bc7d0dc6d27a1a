"""Data sets of awkward sizes: the right result, or one line before anything runs."""

import json

import numpy as np
import pytest
from broken_runs import calls, fits

pytestmark = pytest.mark.slow

ARGS = ["--arch", "lenet5_modern", "--epochs", "1", "--set", "batch_size=16", "--set", "image_size=32"]


def archive(path, train: int, classes: int = 2):
    """An .npz data set with so many training images."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", train), ("val", 5), ("test", 7)):
        arrays[f"x_{split}"] = rng.integers(0, 255, (n, 8, 8), dtype="uint8")
        arrays[f"y_{split}"] = np.arange(n) % classes
    np.savez(path, **arrays)
    return path


# training images, replicas -> exit status, steps or what the line says
CASES = {
    (0, 1): (2, "must be (n, h, w)"),
    (1, 1): (2, "every class needs training images; '1' has none"),
    (2, 1): (0, 1),
    (15, 1): (0, 1),
    (16, 1): (0, 1),
    (17, 1): (0, 1),
    (33, 1): (0, 2),
    (15, 2): (2, "must be divisible by 2 replicas, got 15; try 14"),
    (17, 2): (0, 1),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("sizes")
    lines = []
    for n, replicas in CASES:
        args = [*ARGS, "--data", archive(root / f"{n}.npz", n), "--replicas", replicas]
        lines += fits(root / f"{n}_{replicas}", [None], args)
    return dict(zip(CASES, calls(lines, root), strict=True)), root


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sizes(runs, case):
    done, root = runs
    status, what = CASES[case]
    assert done[case]["status"] == status, done[case]["err"]
    if status:
        assert what in done[case]["err"]
        assert done[case]["err"].count("\n") == 1
        return
    rows = (root / f"{case[0]}_{case[1]}" / "history.csv").read_text().splitlines()
    assert rows[1].startswith(f"1,{what},")
    result = json.loads((root / f"{case[0]}_{case[1]}" / "result.json").read_text())
    assert [result[s]["n"] for s in ("train", "val", "test")] == [case[0], 5, 7]
