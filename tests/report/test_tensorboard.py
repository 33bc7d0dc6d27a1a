"""What TensorBoard reads back from the event files."""

import io
import time

import numpy as np
import pytest
from PIL import Image
from support import pixels
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util

from training.report import pictures
from training.report.tensorboard import Board


def read(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def points(folder, tag):
    events = read(folder).Tensors(tag)
    return {e.step: pytest.approx(tensor_util.make_ndarray(e.tensor_proto).item()) for e in events}


def test_scalars_of_train_and_val_share_their_names(tmp_path):
    with Board(tmp_path) as board:
        for step in (98, 196):
            numbers = {"loss": 1 / step, "top1": np.float32(0.5), "rate": 0.1, "images_per_second": 412}
            board.scalars(step, numbers, "train")
        board.scalars(196, {"loss": 0.25, "top1": None}, "val")
    assert points(tmp_path / "train", "loss") == {98: 1 / 98, 196: 1 / 196}
    assert points(tmp_path / "train", "images_per_second") == {98: 412, 196: 412}
    assert points(tmp_path / "val", "loss") == {196: 0.25}
    assert read(tmp_path / "val").summary_metadata.keys() == {"loss"}


def test_a_resumed_run_continues_its_curves(tmp_path):
    for purge_step, values in ((None, {10: 1.0, 20: 2.0, 30: 3.0}), (20, {30: 30.0, 40: 40.0})):
        with Board(tmp_path, purge_step) as board:
            for step, value in values.items():
                board.scalars(step, {"loss": value}, "train")
        time.sleep(1.1)  # event files are named by the second
    assert points(tmp_path / "train", "loss") == {10: 1.0, 20: 2.0, 30: 30.0, 40: 40.0}


def test_pictures(tmp_path):
    figure = pictures.confusion_matrix(np.eye(2, dtype=int), ["cat", "dog"], "two")
    with Board(tmp_path) as board:
        board.picture("confusion", figure, 98)
    events = read(tmp_path)
    width, height, png = tensor_util.make_ndarray(events.Tensors("confusion")[0].tensor_proto)
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (int(width), int(height))
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels(figure))
    assert events.summary_metadata["confusion"].plugin_data.plugin_name == "images"


def test_hparams_have_their_figures(tmp_path):
    config = {"arch": "resnet20", "optimizer.rate": 0.1, "nesterov": True, "seed": 3}
    with Board(tmp_path) as board:
        board.hparams(config, {"test/top1": 0.9}, step=98)
    events = read(tmp_path)
    content = events.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    assert hparams["arch"].string_value == "resnet20"
    assert hparams["optimizer.rate"].number_value == 0.1
    assert hparams["nesterov"].bool_value
    assert hparams["seed"].number_value == 3
    assert points(tmp_path, "test/top1") == {98: 0.9}


def test_a_failure_is_said_once_and_nothing_stops(tmp_path):
    said = []
    (tmp_path / "file").write_text("in the way")
    board = Board(tmp_path / "file", warn=said.append)
    board.scalars(1, {"loss": 1.0}, "train")
    board.picture("x", None, 1)
    board.close()
    assert len(said) == 1
    assert said[0].startswith("TensorBoard: ")
    assert said[0].endswith("training continues without it")
    assert "\n" not in said[0]
