"""The command as a user runs it: a run becomes a folder of files, and other programs use each of them."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
from PIL import Image
from small import run_folder
from support import MINIATURES, fresh_process

from training.classification import trained
from training.data import pipeline, sources
from training.exporting.verification import Runtime
from training.exporting.worker_process import WorkerError

ROOT = Path(__file__).parents[2]


def export(*args, cwd):
    return forked.run([ROOT / "training" / "export.py", *args], cwd=cwd, timeout=500)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(the export's folder, what the command printed, the run)."""
    cwd = tmp_path_factory.mktemp("export")
    run = run_folder(cwd / "mini", MINIATURES["resnet20"], epochs=6)
    options = ["--to", "saved_model,tflite", "--quantize", "none,int8", "--max-drop", "0.05", "--threads", "1"]
    done = export("--run", run, *options, cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]
    return cwd / "saved_models" / "mini", done.stdout, run


FILES = {"saved_model", "model.tflite", "model_int8.tflite"}


def test_the_folder(exported):
    folder, out, _ = exported
    assert {p.name for p in folder.iterdir()} == {*FILES, "labels.txt", "card.md", "export.json"}
    assert (folder / "labels.txt").read_text().split() == list("0123456789")
    assert out.splitlines()[-1].startswith("done: saved_models/mini: ")
    assert [p.name for p in folder.parent.iterdir()] == ["mini"]  # nothing hidden is left beside it


def test_the_record_is_what_lies_there(exported):
    folder, _, run = exported
    record = json.loads((folder / "export.json").read_text())
    assert record["weights_sha256"] == json.loads((run / "result.json").read_text())["weights_sha256"]
    assert set(record["files"]) == FILES
    assert record["calibration_images"] >= 300
    for name, file in record["files"].items():
        paths = [folder / p for p in file["sha256"]]
        assert sum(p.stat().st_size for p in paths) == file["bytes"]
        assert all(
            hashlib.sha256(p.read_bytes()).hexdigest() == file["sha256"][p.relative_to(folder).as_posix()]
            for p in paths
        )
        assert file["n"] == 180
        assert file["threads"] == 1
        assert file["drop"] == pytest.approx(file["keras_top1"] - file["top1"])
        assert file["keras_top1"] > 0.8
        assert file["agreement"] >= (0.95 if "int8" in name else 1.0)
        assert file["largest_difference"] < (0.5 if "int8" in name else 1e-4)
    assert record["files"]["model_int8.tflite"]["bytes"] < record["files"]["model.tflite"]["bytes"]


def test_the_card_has_the_figures_and_the_calls(exported):
    card = (exported[0] / "card.md").read_text()
    record = json.loads((exported[0] / "export.json").read_text())
    for name, file in record["files"].items():
        assert f"| `{name}` | {file['bytes'] / 1e6:.2f} MB | {file['top1']:.4f} |" in card
    assert all(f"```{language}" in card for language in ("python", "kotlin", "swift", "cpp"))
    assert "Licence of the weights" in card


@pytest.fixture(scope="module")
def server(exported):
    """The SavedModel in a fresh process that cannot import this package."""
    with Runtime("saved_model", exported[0] / "saved_model", 1) as runtime:
        yield runtime


def test_signatures_agree(server):
    digits = sources.digits().val
    images = [np.repeat(digits[i][0], 3, axis=-1) for i in range(4)]
    batch = server.run("images", np.stack(images))["probabilities"]
    np.testing.assert_allclose(batch.sum(axis=1), 1, atol=1e-5)
    one = np.concatenate([server.run("images", image[None])["probabilities"] for image in images])
    np.testing.assert_allclose(batch, one, atol=1e-5)
    png = [np.frombuffer(_png(image), np.uint8) for image in images]
    np.testing.assert_allclose(server.run("jpegs", *png)["probabilities"], batch, atol=1e-5)
    wide = np.zeros((2, 40, 90, 3), np.uint8)
    assert server.run("images", wide)["probabilities"].shape == (2, 10)


def _png(image) -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


BAD = [
    ("images", np.zeros((1, 8, 8, 4), np.uint8), "images"),
    ("images", np.zeros((8, 8, 3), np.uint8), "images"),
    ("images", np.zeros((1, 8, 8, 3), np.float32), "images"),
    ("images", np.zeros((1, 0, 8, 3), np.uint8), "images have pixels"),
    ("tensor", np.zeros((1, 9, 9, 3), np.float32), "tensor has the size of the network"),
    ("jpegs", np.frombuffer(b"\xff\xd8\xff\xe0 no more", np.uint8), "InvalidArgumentError"),
    ("jpegs", np.frombuffer(b"no image at all", np.uint8), "InvalidArgumentError"),
    ("nothing", np.zeros((1, 8, 8, 3), np.uint8), "nothing"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda c: f"{c[0]} {c[1].shape}")
def test_bad_requests_are_errors_and_the_server_continues(server, case):
    signature, array, says = case
    with pytest.raises(WorkerError, match=says):
        server.run(signature, array)
    assert server.run("images", np.zeros((1, 8, 8, 3), np.uint8))["probabilities"].shape == (1, 10)


def surest_digit(run):
    """The image, and its label, of the digit that the network of a run is surest of."""
    val, network = sources.digits().val, trained.from_run(run)
    fitted = pipeline.with_channels(
        pipeline.resize_and_crop(val.images.array[:20], network.size), network.channels
    )
    answers = network.model.predict(network.preprocessing(fitted.numpy()), verbose=0)
    sure = answers[np.arange(20), val.labels[:20]]
    return val[int(sure.argmax())]  # the network has not learned enough to know every digit


def test_the_program_for_phones_runs(exported, tmp_path):
    """docs/mobile/classify.py: under 40 lines; LiteRT, numpy and pillow are enough."""
    program = ROOT / "docs" / "mobile" / "classify.py"
    assert len(program.read_text().splitlines()) < 40
    image, label = surest_digit(exported[2])
    Image.fromarray(image[..., 0]).resize((40, 40), Image.Resampling.NEAREST).save(tmp_path / "digit.png")
    for file in ("model.tflite", "model_int8.tflite"):
        code = (
            "import runpy, sys\n"
            "for name in ('keras_cnns', 'training', 'tensorflow', 'keras'): sys.modules[name] = None\n"
            f"sys.argv = ['classify.py', {str(exported[0] / file)!r}, {str(tmp_path / 'digit.png')!r}]\n"
            f"runpy.run_path({str(program)!r}, run_name='__main__')\n"
        )
        lines = fresh_process(code).splitlines()
        assert len(lines) == 5
        assert lines[0].split()[0] == str(label)


@pytest.mark.slow
def test_the_page_on_serving_is_true(exported, tmp_path):
    """Its Python, word for word, beside an export; without this package."""
    (tmp_path / "saved_models").mkdir()
    (tmp_path / "saved_models" / "flowers").symlink_to(exported[0])
    image, label = surest_digit(exported[2])
    Image.fromarray(image[..., 0]).resize((64, 64), Image.Resampling.NEAREST).save(tmp_path / "photo.jpg")
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(), re.DOTALL)
    code = f"import os, sys\nos.chdir({str(tmp_path)!r})\nsys.modules['keras_cnns'] = None\n{code}"
    assert fresh_process(code).splitlines()[-1].split()[0] == str(label)


@pytest.mark.slow
def test_later_formats_join_the_earlier_ones(exported):
    """The same weights: what was there stays; a format that is made again is replaced."""
    folder, _, run = exported
    before = json.loads((folder / "export.json").read_text())["files"]
    options = ("--to", "tflite,keras", "--quantize", "float16,dynamic,int16x8", "--out", folder)
    done = export("--run", run, *options, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    after = json.loads((folder / "export.json").read_text())["files"]
    more = {f"model_{kind}.tflite" for kind in ("float16", "dynamic", "int16x8")}
    assert set(after) == {*FILES, *more, "model.keras"}
    assert all(after[name] == before[name] for name in FILES)


@pytest.mark.slow
def test_a_killed_export_leaves_nothing(exported, tmp_path):
    """Killed while it writes: no folder; repeated: all of it, and what was hidden is gone."""
    import time

    *_, run = exported
    command = [sys.executable, ROOT / "training" / "export.py", "--run", run, "--out", tmp_path / "out" / "net"]
    process = subprocess.Popen([*command, "--to", "keras"], stdout=subprocess.DEVNULL)
    hidden = tmp_path / "out" / ".net.unfinished"
    while not (hidden / "model.keras").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".net.unfinished"]
    assert export("--run", run, "--out", tmp_path / "out" / "net", "--to", "keras", cwd=tmp_path).returncode == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["net"]
