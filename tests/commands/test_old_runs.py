"""Run folders of an older version, with the old names of fields, values and callbacks, still work."""

import json
import shutil
from pathlib import Path

import forked
import pytest

HERE = Path(__file__).parent
OLD = HERE / "old_runs"
CLASSIFIER = "fit.py --arch lenet5_modern --epochs 4 --set keep=best --set patience=3 --set average=0.9 "
CLASSIFIER += "--set schedule=plateau --set schedule.patience=1 --run classifier_stopped"
FINE_TUNED = "fit.py --arch lenet5_modern --epochs 4 --weights classifier/model.keras --recipe finetune "
FINE_TUNED += "--set tuning.head_epochs=2 --run fine_tuned_stopped"
PRUNED = "prune.py --run classifier --keep-macs 0.5 --epochs 3 --out pruned_stopped"
FINISHED = ("classifier", "fine_tuned", "pruned")


def run(root: Path, *lines: str) -> list[dict]:
    """The answers of command lines, in one process, with old run folders in the working directory."""
    words = [line.split() for line in lines]
    done = forked.run([HERE / "many.py"], input=json.dumps(words), cwd=root, check=True)
    answers = json.loads(done.stdout)
    for line, answer in zip(lines, answers, strict=True):
        assert answer["status"] == 0, (line, answer)
    return answers


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return Path(shutil.copytree(OLD, tmp_path_factory.mktemp("old") / "runs"))


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def test_are_evaluated(root):
    for name, answer in zip(
        FINISHED, run(root, *(f"evaluate.py --run {n} --json" for n in FINISHED)), strict=True
    ):
        figures, stored = json.loads(answer["out"]), result(OLD / name)["test"]
        assert figures["top1"] == pytest.approx(stored["top1"], abs=0.003)  # rounding may change one image of 360
        assert figures["loss"] == pytest.approx(stored["loss"], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("classifier", CLASSIFIER),
        ("fine_tuned", FINE_TUNED),
        pytest.param("pruned", PRUNED, marks=pytest.mark.slow),
    ],
)
def test_is_continued(root, name, line):
    """From the checkpoint, not from the start, to what the older version reached."""
    run(root, line)
    folder = root / f"{name}_stopped"
    now, then = result(folder), result(OLD / name)
    assert now["finished"]
    inner = folder / "compactors" if name == "pruned" else folder
    old_rows = (OLD / inner.relative_to(root) / "history.csv").read_text().splitlines()
    assert (inner / "history.csv").read_text().splitlines()[: len(old_rows)] == old_rows
    assert "continuing after epoch" in (inner / "log.txt").read_text()
    assert now["test"]["loss"] == pytest.approx(then["test"]["loss"], abs=0.05)  # another CPU rounds otherwise


@pytest.mark.slow
def test_is_exported(root):
    line = "export.py --run {} --to keras,tflite --out exports/{}"
    for name, answer in zip(FINISHED, run(root, *(line.format(n, n) for n in FINISHED)), strict=True):
        assert "done:" in answer["out"], answer
        assert (root / "exports" / name / "model.tflite").stat().st_size
