"""The run folder: whole files or none, a history that reads back, a log that outlives its terminal."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from training.report.folder import COLUMNS, History, Log, atomic, data_name, next_folder, write_json, write_text

ROW = {
    "epoch": 1,
    "step": 98,
    "loss": 0.1 + 0.2,
    "top1": 0.875,
    "rate": 0.05,
    "images_per_second": 412.5,
    "seconds": 9.25,
}


def row(epoch, **other):
    return {**ROW, "epoch": epoch, "step": 98 * epoch, **other}


def test_folders_count_up_and_never_collide(tmp_path):
    names = [next_folder(tmp_path / "runs", "resnet20", "digits").name for _ in range(3)]
    assert names == ["resnet20-digits-1", "resnet20-digits-2", "resnet20-digits-3"]
    (tmp_path / "runs" / "resnet20-digits-11").mkdir()
    (tmp_path / "runs" / "resnet20-digits-x").mkdir()
    assert next_folder(tmp_path / "runs", "resnet20", "digits").name == "resnet20-digits-12"
    assert next_folder(tmp_path / "runs", "resnet2", "0-digits").name == "resnet2-0-digits-1"


@pytest.mark.parametrize(
    ("data", "name"),
    [("cifar10", "cifar10"), ("/photos/my cats/", "my_cats"), ("C:\\data\\dogs", "dogs"), ("a/b.npz", "b.npz"),
     ("imagenet2012:5.1.0", "imagenet2012_5.1.0"), ("/", "data"), ("..hidden", "hidden")],
)  # fmt: skip
def test_data_names_are_safe_in_paths(data, name):
    assert data_name(data) == name


def test_dot_is_named_by_its_folder(tmp_path, monkeypatch):
    (tmp_path / "birds").mkdir()
    monkeypatch.chdir(tmp_path / "birds")
    assert data_name(".") == "birds"


def test_a_failed_write_changes_nothing(tmp_path):
    path = tmp_path / "result.json"
    write_text(path, "before")

    def fail():
        with atomic(path) as file:
            file.write(b"half")
            raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        fail()
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["result.json"]


def test_json_round_trip_and_nan(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"top1": np.float32(0.5), "n": np.int64(3), "loss": 1e-17, "val": None, "arch": "é"})
    assert json.loads(path.read_text()) == {"top1": 0.5, "n": 3, "loss": 1e-17, "val": None, "arch": "é"}
    assert path.read_text().startswith('{\n  "top1"')
    for bad in (float("nan"), np.float32("inf")):
        with pytest.raises(ValueError, match=r"must hold finite numbers: val\.loss\[1\] is"):
            write_json(path, {"val": {"loss": [1.0, bad]}})
    with pytest.raises(TypeError, match="JSON holds numbers"):
        write_json(path, {"x": {1, 2}})
    assert os.listdir(tmp_path) == ["result.json"]


def test_history_round_trip(tmp_path):
    path = tmp_path / "history.csv"
    history = History(path)
    history.append(row(1))
    history.append(row(2, val_loss=1 / 3, val_top1=np.float32(0.5)))
    assert (
        path.read_text().splitlines()[0] == "epoch,step,loss,top1,val_loss,val_top1,rate,images_per_second,seconds"
    )
    assert path.read_text().splitlines()[1] == "1,98,0.30000000000000004,0.875,,,0.05,412.5,9.25"
    again = History(path)
    assert again.rows == history.rows
    assert again.rows[0]["val_loss"] is None
    assert [type(again.rows[1][c]) for c in COLUMNS] == [int, int] + [float] * 7


def test_history_truncates_for_resuming(tmp_path):
    history = History(tmp_path / "history.csv")
    for epoch in (1, 2, 3):
        history.append(row(epoch))
    with pytest.raises(ValueError, match="got 3 after 3"):
        history.append(row(3))
    history.truncate(1)
    assert [r["epoch"] for r in History(tmp_path / "history.csv").rows] == [1]
    history.append(row(2, loss=float("nan")))
    history.truncate(0)
    assert History(tmp_path / "history.csv").rows == []


def test_history_refuses_what_does_not_fit(tmp_path):
    history = History(tmp_path / "history.csv")
    with pytest.raises(ValueError, match="no column 'lr'"):
        history.append(row(1, lr=0.1))
    with pytest.raises(ValueError, match="needs 'loss'"):
        history.append(row(1, loss=None))
    with pytest.raises(ValueError, match="count up from 1, got 0"):
        history.append(row(0))
    write_text(tmp_path / "other.csv", "epoch,loss\n1,2\n")
    with pytest.raises(ValueError, match="got 'epoch,loss'"):
        History(tmp_path / "other.csv")
    write_text(tmp_path / "words.csv", ",".join(COLUMNS) + "\n1,2,x,,,,,,\n")
    with pytest.raises(ValueError, match="numbers a line"):
        History(tmp_path / "words.csv")
    write_text(tmp_path / "empty.csv", "")
    with pytest.raises(ValueError, match="got ''"):
        History(tmp_path / "empty.csv")


def test_log_says_and_keeps(tmp_path, capsys):
    with Log(tmp_path / "log.txt", sys.stdout, now=lambda: time.gmtime(0)) as log:
        log("one")
        log("two\nthree")
    assert capsys.readouterr().out == "one\ntwo\nthree\n"
    stamp = "1970-01-01 00:00:00  "
    assert (tmp_path / "log.txt").read_text() == f"{stamp}one\n{stamp}two\n{stamp}three\n"


def test_log_outlives_its_pipe(tmp_path):
    """A reader that leaves ends neither the process nor the file; a stream of ASCII takes any text."""
    code = (
        "import sys; from training.report.folder import Log\n"
        "log = Log(sys.argv[1], sys.stdout)\n"
        "log('caf\\u00e9')\n"
        "sys.stdin.readline()\n"
        "for i in range(3): log(f'line {i}')"
    )
    environment = {
        **os.environ,
        "PYTHONIOENCODING": "ascii",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "log.txt"], env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"caf?\n"
    process.stdout.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    errors = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=20)
    assert (process.returncode, errors) == (0, b"")
    texts = [line[21:] for line in (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()]
    assert texts == ["café", "line 0", "line 1", "line 2"]
