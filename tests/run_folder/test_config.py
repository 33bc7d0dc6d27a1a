"""`config.json`: everything, back again, and nothing but values."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from support import images, miniature

import keras_cnns
from keras_cnns import values
from keras_cnns.preprocessing import Preprocessing
from training.classification import config as configs
from training.classification.config import Config
from training.recipes import papers
from training.run_folder import config as run_folder_config

OLD = Path(__file__).with_name("config_of_0.1.0.json")  # of a fine-tuned run, written by commit cb8dc5c
OLD_DIGEST = "24a806c6d3d5a5a27a1be9bdcf0536f51663093a4527e37853c26ec8489621de"  # of that run's checkpoints


@pytest.fixture
def config():
    return Config(
        architecture=keras_cnns.WRN16_4,
        recipe=papers.RECIPES["wrn_cifar"],
        data="digits",
        classes=("zero", "one"),
        preprocessing=Preprocessing((77.8,), (95.9,)),
        image_size=16,
        channels=3,
        seed=0,
        replicas=1,
        precision="float32",
        xla="off",
    )


def test_written_and_read(config, tmp_path):
    run_folder_config.write(config, tmp_path)
    assert Config.read(tmp_path) == config


def test_differences_name_the_fields_and_forgive_the_devices(config):
    other = replace(config, seed=3, replicas=2, recipe=config.recipe.scaled(20))
    assert run_folder_config.differing(config, config, run_folder_config.FREE) == []
    assert run_folder_config.differing(config, replace(config, replicas=4, xla="on"), run_folder_config.FREE) == []
    found = run_folder_config.differing(config, other, run_folder_config.FREE)
    assert "seed: 0 here, 3 asked" in found
    assert "recipe.epochs: 200 here, 20 asked" in found


def test_the_identity_is_that_of_the_file(config, tmp_path):
    """The config.json of an older version, with its names of types and fields, has the hash that it stored."""
    own = run_folder_config.identity(tmp_path, config)
    run_folder_config.write(config, tmp_path)
    assert run_folder_config.identity(tmp_path, config) == own
    free = replace(config, replicas=4, xla="on", workers=2, version="9.9")
    assert run_folder_config.identity(tmp_path / "none", free) == own
    assert run_folder_config.identity(tmp_path / "none", replace(config, seed=1)) != own
    old = OLD.read_text(encoding="utf-8")
    assert '"type": "Tuning"' in old
    (tmp_path / "config.json").write_text(old)
    assert run_folder_config.identity(tmp_path, config) == OLD_DIGEST


def test_dropout_reaches_the_units(config):
    wet = replace(config, recipe=replace(config.recipe, dropout=0.3))
    assert [la.name for la in wet.build().layers if "dropout" in la.name][:1] == ["stage1_unit1_dropout"]
    assert not [la.name for la in config.build().layers if "dropout" in la.name]


def test_the_centred_start(config):
    """Filters of mean zero and He's size, no bias but of the class maps; the seed decides."""

    def start(**changes):
        recipe = replace(config.recipe, initializer="centred")
        found = replace(config, architecture=keras_cnns.NINCIFAR, image_size=32, recipe=recipe, **changes)
        return found.build_for_training()[0]

    model = start()
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-6)
            assert float(kernel.std()) == pytest.approx(np.sqrt(2 / np.prod(kernel.shape[:3])), rel=0.1)
            assert np.all(keras.ops.convert_to_numpy(layer.bias) == (layer.name == "class_maps"))
    same, other = start(), start(seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), same.get_weights(), strict=True))
    assert not np.array_equal(model.get_weights()[0], other.get_weights()[0])


def test_the_identity_start(config):
    """A bottleneck is silent behind its stem and shortcuts: the units of a stage pass the same on."""
    recipe = replace(config.recipe, initializer="identity")
    small = miniature(keras_cnns.ResNet50)
    model = replace(config, architecture=small, image_size=64, recipe=recipe).build_for_training()[0]
    assert not np.any(keras.ops.convert_to_numpy(model.get_layer("stage1_unit1_conv3_norm").gamma))
    assert np.all(keras.ops.convert_to_numpy(model.get_layer("stage1_unit1_shortcut_norm").gamma) == 1)
    features = keras_cnns.feature_extractor(model, ["stage1_unit1_relu", "stage1_unit2_relu"])(
        images(1, 64, 64, 3)
    )
    np.testing.assert_array_equal(features["stage1_unit2_relu"], features["stage1_unit1_relu"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "system"}, "no type 'system'"),
        ({"type": "SGD"}, "no field of SGD|field of SGD"),
        ({"seed": -1}, "Config.seed must be int from 0"),
        ({"image_size": 10**9}, "Config.image_size must be"),
        ({"surprise": 1}, "no field of Config 'surprise'|field of Config"),
        ({"architecture": {"function": "norm_relu"}}, "Config.architecture must be Architecture"),
        ({"architecture": {"type": "Lambda", "code": "..."}}, "no type 'Lambda'"),
    ],
)
def test_hostile_files_are_refused(config, tmp_path, change, message):
    data = values.encode(config) | change
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        Config.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", '"x"', "\x00"])
def test_no_json(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config.json"):
        Config.read(tmp_path)


def test_no_run(tmp_path):
    with pytest.raises(ValueError, match="no run in"):
        Config.read(tmp_path)


def test_weights_of_a_run_bring_its_preprocessing(config, tmp_path):
    """A network is fed what it was trained on; a file from elsewhere, or of another network, says nothing."""
    run_folder_config.write(config, tmp_path)
    weights = tmp_path / "model.keras"
    assert configs.with_run_preprocessing(keras_cnns.WRN16_4, weights).preprocessing == Preprocessing(
        (77.8,), (95.9,)
    )
    assert configs.with_run_preprocessing(keras_cnns.WRN16_4, tmp_path / "other.keras") == keras_cnns.WRN16_4
    assert configs.with_run_preprocessing(keras_cnns.WRN16_4, None) == keras_cnns.WRN16_4
    assert configs.with_run_preprocessing(keras_cnns.ResNet20, weights) == keras_cnns.ResNet20
