"""The main job as a user does it: a process trains, is killed, continues, is evaluated and predicts."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import numpy as np
import pytest
from PIL import Image

import keras_cnns
from training.data import sources

TRAINING = Path(__file__).parents[2] / "training"
SMALL = ["--arch", "resnet20", "--set", "image_size=16", "--epochs", "3"]


def command(name, *args):
    return [sys.executable, str(TRAINING / name), *map(str, args)]


def call(cwd, name, *args):
    return forked.run([TRAINING / name, *args], cwd=cwd)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of a Python process of its own: (its folder, what it printed)."""
    cwd = tmp_path_factory.mktemp("run")
    done = subprocess.run(command("fit.py", *SMALL), capture_output=True, text=True, cwd=cwd, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return cwd / "runs" / "resnet20-digits-1", done.stdout


def test_the_folder_is_complete(run):
    folder, out = run
    assert {p.name for p in folder.iterdir()} == {
        *("config.json", "history.csv", "result.json", "checkpoints", "model.keras", "labels.txt"),
        *("tensorboard", "curves.png", "confusion_matrix.png", "batch.png", "log.txt"),
    }
    assert out.splitlines()[-1].startswith("done: test top-1 0.")
    assert "expected duration: about" in out
    assert out.index("expected duration") < out.index("epoch 1/3")


def test_result(run):
    folder, out = run
    result = json.loads((folder / "result.json").read_text())
    assert list(result) == [
        *("arch", "data", "recipe", "params", "macs", "epochs", "seed", "replicas", "precision", "xla"),
        *("images_per_second", "data_wait", "train", "val", "test", "weights_sha256", "finished"),
    ]
    assert (result["params"], result["macs"]) == (269_722, 40_551_040 // 4 + 480)
    assert (result["epochs"], result["finished"], result["test"]["n"]) == (3, True, 360)
    assert set(result["test"]) == {"loss", "top1", "top5", "n"}
    assert result["test"]["top1"] > 0.7  # three epochs at 16 pixels
    assert 0 <= result["data_wait"] <= 1
    assert f"{result['data_wait']:.1%} of the time waiting for images" in out.splitlines()[-1]
    assert ("training waited" in out) == (result["data_wait"] > 0.02)
    assert "store photographs" not in out  # digits lie in memory


def test_history(run):
    folder, _ = run
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == "epoch,step,loss,top1,val_loss,val_top1,rate,images_per_second,seconds"
    assert [(r["epoch"], r["step"]) for r in rows] == [("1", "19"), ("2", "38"), ("3", "57")]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) / 2


def test_the_saved_model_is_plain_and_gives_the_result(run):
    folder, _ = run
    model = keras_cnns.load_model(folder / "model.keras")
    assert type(model).__name__ == "Functional"
    assert (folder / "labels.txt").read_text().split() == list("0123456789")
    images = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype("float32")
    np.testing.assert_allclose(np.asarray(model(images)).sum(1), 1, rtol=1e-5)


def test_evaluate_gives_the_figures_of_the_result(run):
    folder, _ = run
    done = call(folder, "evaluate.py", "--run", folder, "--json")
    assert done.returncode == 0, done.stderr
    found, stored = json.loads(done.stdout), json.loads((folder / "result.json").read_text())["test"]
    assert (found["top1"], found["n"]) == (stored["top1"], 360)
    assert found["loss"] == pytest.approx(stored["loss"], rel=1e-4)


@pytest.mark.slow
def test_evaluate_takes_an_architecture_with_weights_and_an_ensemble(run):
    folder, _ = run
    weights = ["--arch", "resnet20", "--weights", folder / "model.keras", "--data", "digits", "--json"]
    done = call(folder, "evaluate.py", *weights)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 360
    twice = call(folder, "evaluate.py", "--run", folder, "--run", folder, "--split", "val", "--json")
    stored = json.loads((folder / "result.json").read_text())["val"]
    assert json.loads(twice.stdout)["top1"] == stored["top1"]


def test_predict_names_digits_and_reports_bad_files(run, tmp_path):
    folder, _ = run
    data = sources.load("digits")
    for i in range(10):
        image, label = data.test[i]
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i}_{label}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    done = call(tmp_path, "predict.py", "--run", folder, tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert "broken.png" in done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 10
    right = [a["top"][0]["label"] == Path(a["image"]).stem[-1] for a in answers]
    assert sum(right) >= 8
    assert all(len(a["top"]) == 5 for a in answers)
    only_bad = call(tmp_path, "predict.py", "--run", folder, tmp_path / "broken.png")
    assert only_bad.returncode == 2


def test_the_same_command_again(run):
    folder, _ = run
    before = (folder / "model.keras").stat().st_mtime_ns
    done = call(folder, "fit.py", *SMALL, "--run", folder)
    assert done.returncode == 0
    assert "finished already" in done.stdout
    assert (folder / "model.keras").stat().st_mtime_ns == before
    other = call(folder, "fit.py", *SMALL, "--run", folder, "--seed", 3)
    assert other.returncode == 2
    assert "seed: 0 here, 3 asked" in other.stderr


def wait_for(path, process, seconds=120):
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def test_interrupted_again_and_again_gives_the_unbroken_weights(run, tmp_path):
    """Ctrl-C, then SIGTERM, then SIGKILL, each after another epoch; the command is repeated every time."""
    folder = tmp_path / "mine"
    args = [TRAINING / "fit.py", *SMALL, "--run", folder]
    for epoch, (number, status) in enumerate(
        [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)], 1
    ):
        process = forked.start(args, cwd=tmp_path)
        wait_for(folder / "checkpoints" / f"step_{19 * epoch:08d}", process)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == status, err
        assert not (folder / "result.json").exists()
        if number != signal.SIGKILL:
            assert err.splitlines()[-1].endswith(f"--run {folder}")
            assert "Traceback" not in err
    again = forked.run(args, cwd=tmp_path)
    assert again.returncode == 0, again.stderr[-2000:]
    assert "continuing after epoch 3 of 3" in again.stdout
    results = [json.loads((f / "result.json").read_text()) for f in (folder, run[0])]
    assert results[0]["weights_sha256"] == results[1]["weights_sha256"]
    assert results[0]["test"] == results[1]["test"]
    histories = [
        [line.split(",")[:6] for line in (f / "history.csv").read_text().splitlines()] for f in (folder, run[0])
    ]
    assert histories[0] == histories[1]


def test_dry_run_does_everything_and_keeps_nothing(tmp_path):
    done = call(tmp_path, "fit.py", "--dry-run", "--arch", "lenet5_modern")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "nothing was kept" in done.stdout.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_stops_and_saves_nothing(tmp_path):
    done = call(tmp_path, "fit.py", *SMALL, "--set", "optimizer.rate=1e12", "--run", tmp_path / "bad")
    assert done.returncode == 1
    assert "the loss is nan" in done.stderr or "the loss is inf" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "bad" / "model.keras").exists()
    blamed = [
        line for line in (tmp_path / "bad" / "log.txt").read_text().splitlines() if "images of the batch: " in line
    ]
    assert len(blamed) == 1
    indices = [int(i) for i in blamed[0].partition("images of the batch: ")[2].split(", ")]
    assert len(set(indices)) == 64
    assert set(indices) <= set(range(1257))


def test_a_reader_that_leaves_does_no_harm(tmp_path):
    line = " ".join(command("fit.py", "--dry-run", "--arch", "lenet5_modern")) + " | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.startswith("run: ")
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.slow
def test_two_replicas_train(tmp_path):
    done = call(tmp_path, "fit.py", *SMALL, "--replicas", 2, "--run", tmp_path / "two")
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "two" / "result.json").read_text())
    assert (result["replicas"], result["xla"]) == (2, "off")
    assert result["test"]["top1"] > 0.7  # three epochs at 16 pixels
    uneven = call(tmp_path, "fit.py", *SMALL, "--replicas", 3, "--run", tmp_path / "three")
    assert uneven.returncode == 2
    assert "must be divisible by 3 replicas, got 64; try 63" in uneven.stderr


@pytest.mark.slow
def test_an_image_that_breaks_after_indexing_is_named(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("cats", "dogs"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for i in range(30):
            side = 40 + i  # different sizes stay files
            pixels = rng.integers(0, 255, (side, 48, 3), dtype="uint8")
            Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{i}.png")
    args = ["--data", tmp_path / "photos", "--epochs", 50, "--set", "image_size=16", "--run", tmp_path / "run"]
    process = forked.start([TRAINING / "fit.py", *args])
    wait_for(tmp_path / "run" / "history.csv", process)
    for broken in (tmp_path / "photos" / "cats").iterdir():
        broken.write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "can no longer be read" in err
    assert "cats" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.slow
def test_like_another_run(run, tmp_path):
    """Its network, data, recipe and seed, without a word of them on the command line."""
    folder, _ = run
    done = call(tmp_path, "fit.py", "--like", folder, "--dry-run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "recipe: quick, 3 epochs, batch size 64" in done.stdout
    assert "at 16 pixels" in done.stdout
    done = call(tmp_path, "fit.py", "--like", folder, "--arch", "resnet20")
    assert done.returncode == 2
    assert done.stderr == ("fit.py: --like names the network and the recipe: leave out --arch\n")
