"""The benchmark: ratios, records, photographs, one real league."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from training.bench import keras_subjects, records
from training.bench.input_subjects import photographs
from training.bench.league import Contestant, Spread, ratio
from training.bench.task import FIELDS, MODES, Task

DOOR = Path(__file__).parents[2] / "training" / "benchmark.py"


def contestant(engine: str, *seconds: float, **changes) -> Contestant:
    return Contestant(Task(engine, "resnet50", "train", **changes), seconds=list(seconds), peak_gb=2.0)


def test_a_slow_minute_cancels():
    """Both are ten times slower in the second round; the ratio of every round is two."""
    ours, theirs = contestant("ours", 1.0, 10.0, 1.0), contestant("torch", 2.0, 20.0, 2.0)
    assert ratio(ours, theirs) == Spread(2.0, 2.0, 2.0)


def test_a_record_has_the_columns_of_timm():
    ours, theirs = contestant("ours", 2.0, 2.5, 2.0), contestant("torch", 4.0, 5.0, 3.0)
    sizes = {"params": 25_557_032, "macs": 4_089_184_256}
    found = records.record(theirs, ours, sizes, peak=1e12)
    assert found["train_samples_per_sec"] == 4.0
    assert (found["train_step_time"], found["train_batch_size"], found["train_img_size"]) == (4000, 16, 224)
    assert found["param_count"] == 25.557
    assert (found["ratio"], found["ratio_range"]) == (2.0, [1.5, 2.0])
    assert found["mfu"] == round(6 * 4_089_184_256 * 16 / 4 / 1e12, 3)
    assert "ratio" not in records.record(ours, ours, sizes, None)


def test_who_cannot_take_part_says_why():
    absent = contestant("torch")
    absent.excuse = "torch is not installed"
    found = records.record(absent, contestant("ours", 1.0), {}, None)
    assert found["error"] == "torch is not installed"
    assert "torch is not installed" in records.table([found])


def test_every_mode_has_a_field():
    assert set(FIELDS) == set(MODES)
    assert Task.from_json(Task("ours", "vgg16", "dense", 1).to_json()) == Task("ours", "vgg16", "dense", 1)


def test_photographs(tmp_path):
    a, b = photographs(tmp_path / "a", 4), photographs(tmp_path / "b", 4)
    files = sorted(path.relative_to(a) for path in a.rglob("*.jpg"))
    assert len(files) == 4
    for name in files:
        with Image.open(a / name) as image:
            assert (image.format, image.size) == ("JPEG", (500, 375))
        assert (a / name).read_bytes() == (b / name).read_bytes()


@pytest.mark.parametrize("engine", ["ours", "stock"])
def test_a_training_subject_trains(engine):
    task = Task(engine, "lenet5_modern", "train", batch=2, size=32)
    assert keras_subjects.training(task)(2) > 0


@pytest.mark.slow
def test_a_league(tmp_path):
    """Two engines, three disciplines, one of which only one can enter; the table and the records agree."""
    out = tmp_path / "speed.json"
    options = "--arch lenet5_modern --mode train,infer,fused,build --against stock,keras_applications --rounds 2"
    command = [sys.executable, DOOR, *options.split(), "--batch-size", "8", "--json", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["command"].startswith("python ")
    entries = {(r["engine"], r["mode"]): r for r in found["results"]}
    assert entries["ours", "train"]["train_samples_per_sec"] > 0
    assert entries["stock", "infer"]["ratio"] > 0
    assert entries["stock", "train"]["ratio"] > 0
    assert "keras.applications has no lenet5_modern" in entries["keras_applications", "train"]["error"]
    assert ("stock", "fused") not in entries
    assert done.stdout.count("ours") >= 4


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["jax", "torch"])
def test_a_league_on_another_engine(engine, tmp_path):
    pytest.importorskip(engine)
    out = tmp_path / "speed.json"
    options = "--arch lenet5_modern --mode train,infer,fused --against stock --rounds 1 --batch-size 8 --json"
    done = subprocess.run(
        [sys.executable, DOOR, *options.split(), out],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": engine},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["backend"] == engine
    assert not [r for r in found["results"] if "error" in r]
