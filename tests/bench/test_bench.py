"""The benchmark: ratios, records, photographs, one real league."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image

from training.bench import input_subjects, interleaved, keras_subjects, records
from training.bench.input_subjects import photographs
from training.bench.interleaved import Competitor, Spread, ratio
from training.bench.task import FIELDS, MODES, Task

DOOR = Path(__file__).parents[2] / "training" / "benchmark.py"


def contestant(engine: str, *seconds: float, **changes) -> Competitor:
    return Competitor(Task(engine, "resnet50", "train", **changes), seconds=list(seconds), peak_gb=2.0)


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


WORKER = """
import json, sys
print(json.dumps({"ready": True}), flush=True)
for number, line in enumerate(sys.stdin):
    if number == LAST:
        sys.exit("out of luck")
    print(json.dumps({"seconds": 1.0 * int(line)}), flush=True)
print(json.dumps({"peak_gb": 1.0}), flush=True)
"""


def test_who_dies_on_the_way_does_not_end_the_league(monkeypatch):
    def start(one):
        code = WORKER.replace("LAST", "2" if one.task.engine == "torch" else "-1")
        one.complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": one.complaints}
        one.process = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)
        interleaved.answer(one)

    monkeypatch.setattr(interleaved, "start", start)
    tasks = [Task(engine, "repvgg_a0", "train") for engine in ("ours", "torch", "torch_compiled")]
    found = interleaved.compete(tasks, 3, say=lambda line: None)
    ours, dead, third = (records.record(c, found[0], {"params": 1, "macs": 1}, None) for c in found)
    assert ours["train_samples_per_sec"] == 16
    assert dead["error"] == "failed: out of luck"
    assert third["ratio"] == 1
    first_fails = records.record(found[2], found[1], {"params": 1, "macs": 1}, None)
    assert first_fails["rounds"] == 3
    assert "ratio" not in first_fails


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_peak_is_measured_in_each_precision(precision):
    assert keras_subjects.matmul(Task("ours", "resnet50", "matmul", precision=precision))(1) > 0


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


@pytest.mark.parametrize("engine", ["ours", "decoder"])
def test_an_input_subject_decodes_files(engine, monkeypatch):
    monkeypatch.setattr(input_subjects, "COUNT", 4)
    run = input_subjects.make(Task(engine, "resnet50", "input", batch=2, size=32))
    assert run(3) > 0
    run.kept.cleanup()
    with pytest.raises(tf.errors.OpError):  # the files are gone: nothing was kept in memory
        run(20)


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
