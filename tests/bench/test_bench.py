"""The benchmark: ratios, records, photographs, one real comparison."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image

from training.bench import input_workloads, interleaved, keras_workloads, records
from training.bench.input_workloads import write_photographs
from training.bench.interleaved import Competitor, speed_ratio
from training.bench.workload import ENGINES_OF_MODE, MODES, Workload

DOOR = Path(__file__).parents[2] / "training" / "benchmark.py"


def competitor(engine: str, *seconds: float, **changes) -> Competitor:
    return Competitor(Workload(engine, "resnet50", "train", **changes), seconds=list(seconds), peak_gb=2.0)


def test_a_slow_minute_cancels():
    """Both are ten times slower in the second round; the ratio of every round is two."""
    ours, theirs = competitor("ours", 1.0, 10.0, 1.0), competitor("torch", 2.0, 20.0, 2.0)
    assert speed_ratio(ours, theirs) == (2.0, 2.0, 2.0)


def test_a_record_has_the_columns_of_timm():
    ours, theirs = competitor("ours", 2.0, 2.5, 2.0), competitor("torch", 4.0, 5.0, 3.0)
    sizes = {"params": 25_557_032, "macs": 4_089_184_256}
    found = records.make_record(theirs, ours, sizes, peak=1e12)
    assert found["train_samples_per_sec"] == 4.0
    assert (found["train_step_time"], found["train_batch_size"], found["train_img_size"]) == (4000, 16, 224)
    assert found["param_count"] == 25.557
    assert (found["ratio"], found["ratio_range"]) == (2.0, [1.5, 2.0])
    assert found["mfu"] == round(6 * 4_089_184_256 * 16 / 4 / 1e12, 3)
    assert "ratio" not in records.make_record(ours, ours, sizes, None)


def test_an_unavailable_engine_is_reported():
    absent = competitor("torch")
    absent.error = "torch is not installed"
    found = records.make_record(absent, competitor("ours", 1.0), {}, None)
    assert found["error"] == "torch is not installed"
    assert "torch is not installed" in records.format_table([found])


WORKER = """
import sys

def start(text):
    answered = []

    def answer(request):
        answered.append(request)
        if '"torch"' in text and len(answered) == 3:
            sys.exit("out of luck")
        return 1.0 if request == "peak_gb" else 1.0 * request

    return answer
"""


def test_a_process_that_dies_does_not_end_the_comparison(monkeypatch, tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(interleaved, "WORKER", tmp_path / "worker.py")
    workloads = [Workload(engine, "repvgg_a0", "train") for engine in ("ours", "torch", "torch_compiled")]
    found = interleaved.measure(workloads, 3, say=lambda line: None)
    ours, dead, third = (records.make_record(c, found[0], {"params": 1, "macs": 1}, None) for c in found)
    assert ours["train_samples_per_sec"] == 16
    assert dead["error"] == "failed: its process ended with status 1: out of luck"
    assert third["ratio"] == 1
    first_fails = records.make_record(found[2], found[1], {"params": 1, "macs": 1}, None)
    assert first_fails["rounds"] == 3
    assert "ratio" not in first_fails


def test_an_engine_that_is_unavailable_says_why():
    one = Competitor(Workload("keras_applications", "lenet5_modern", "infer"))
    one.start()
    assert one.error == "keras.applications has no lenet5_modern"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_peak_is_measured_in_each_precision(precision):
    assert keras_workloads.time_matmul(Workload("ours", "resnet50", "matmul", precision=precision))(1) > 0


def test_every_mode_has_engines():
    assert set(ENGINES_OF_MODE) == set(MODES)
    workload = Workload("ours", "vgg16", "dense", 1)
    assert Workload.from_json(workload.to_json()) == workload


def test_write_photographs(tmp_path):
    a, b = write_photographs(tmp_path / "a", 4), write_photographs(tmp_path / "b", 4)
    files = sorted(path.relative_to(a) for path in a.rglob("*.jpg"))
    assert len(files) == 4
    for name in files:
        with Image.open(a / name) as image:
            assert (image.format, image.size) == ("JPEG", (500, 375))
        assert (a / name).read_bytes() == (b / name).read_bytes()


@pytest.mark.parametrize("engine", ["ours", "stock"])
def test_a_training_workload_trains(engine):
    workload = Workload(engine, "lenet5_modern", "train", batch=2, size=32)
    assert keras_workloads.make(workload)(2) > 0


@pytest.mark.parametrize("engine", ["ours", "decoder"])
def test_an_input_workload_decodes_files(engine, monkeypatch):
    monkeypatch.setattr(input_workloads, "COUNT", 4)
    run = input_workloads.make(Workload(engine, "resnet50", "input", batch=2, size=32))
    assert run(3) > 0
    run.kept.cleanup()
    with pytest.raises(tf.errors.OpError):  # the files are gone: nothing was kept in memory
        run(20)


@pytest.mark.slow
def test_a_comparison(tmp_path):
    """Two engines, three comparisons, one of them of one engine only; the table and the records agree."""
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
def test_a_comparison_on_another_engine(engine, tmp_path):
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
