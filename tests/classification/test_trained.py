"""A run is rebuilt from the code, its checked configuration and weights with the right hash; nothing is run."""

import json
import shutil
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_cnns
from keras_cnns.preprocessing import Preprocessing
from training.classification import trained
from training.classification.config import Config
from training.recipes.defaults import QUICK
from training.run_folder import config as configs
from training.run_folder.checkpoints import weights_sha256

TINY = replace(keras_cnns.ResNet20, row=replace(keras_cnns.ResNet20.row, depths=(1, 1, 1), widths=(16, 16, 16)))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A finished run's folder, made by hand."""
    keras.utils.set_random_seed(0)
    config = Config(
        architecture=TINY,
        recipe=QUICK,
        data="digits",
        classes=("a", "b"),
        preprocessing=Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        image_size=8,
        channels=3,
        seed=0,
        replicas=1,
        precision="float32",
        xla="off",
    )
    folder = tmp_path_factory.mktemp("run")
    configs.write(config, folder)
    model = config.build()
    model.save(folder / "model.keras")
    (folder / "result.json").write_text(json.dumps({"finished": True, "weights_sha256": weights_sha256(model)}))
    return folder


@pytest.fixture
def run(original, tmp_path):
    return shutil.copytree(original, tmp_path / "run")


def rewrite(path, change):
    """A zip archive with its members changed: name -> bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_the_whole_run_loads(run):
    assert trained.from_run(run).classes == ("a", "b")


def test_the_model_files_own_configuration_is_not_even_read(run):
    before = trained.from_run(run).model.get_weights()
    rewrite(run / "model.keras", lambda members: members.update({"config.json": b"import os"}))
    for a, b in zip(trained.from_run(run).model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_weights_are_refused(run):
    other = Config.read(run).build()
    other.weights[0].assign(np.ones(other.weights[0].shape))
    other.save(run / "model.keras")
    with pytest.raises(ValueError, match=r"model\.keras do not have the weights_sha256 in its result\.json"):
        trained.from_run(run)


def test_a_flipped_bit_is_found(run):
    def flip(members):
        data = bytearray(members["model.weights.h5"])
        data[len(data) // 2] ^= 1
        members["model.weights.h5"] = bytes(data)

    values = [w.copy() for w in trained.from_run(run).model.get_weights()]
    rewrite(run / "model.keras", flip)
    try:
        found = trained.from_run(run).model.get_weights()
    except ValueError:
        return
    for a, b in zip(values, found, strict=True):  # the bit lay between two tensors
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("damage", ["cut", "empty", "page"])
def test_damaged_files(run, damage):
    path = run / "model.keras"
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "page": b"<html>"}[damage])
    with pytest.raises(ValueError, match=r"model\.keras"):
        trained.from_run(run)
