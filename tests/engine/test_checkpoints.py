"""Checkpoints: whole or not at all, damaged ones put aside, hashes of weights."""

import json

import keras
import numpy as np
import pytest

from training.engine import checkpoints


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(3)(x))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.train_on_batch(np.ones((2, 4)), np.ones((2, 3)))
    return model


def test_restores_weights_optimizer_and_states(model, tmp_path):
    checkpoints.save_epoch(tmp_path, 3, model, {"best": {"best": 0.5, "epoch": 2}})
    before = [v.numpy() for v in (*model.weights, *model.optimizer.variables)]
    model.train_on_batch(np.ones((2, 4)), np.zeros((2, 3)))
    found = checkpoints.latest(tmp_path, print)
    assert (found.epoch, found.states) == (3, {"best": {"best": 0.5, "epoch": 2}})
    found.restore(model)
    for value, want in zip((*model.weights, *model.optimizer.variables), before, strict=True):
        np.testing.assert_array_equal(value, want)


def test_keeps_the_last_two(model, tmp_path):
    for epoch in range(1, 5):
        checkpoints.save_epoch(tmp_path, epoch, model, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch_00000003", "epoch_00000004"]


def damage_weights(path):
    data = bytearray((path / checkpoints.WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    (path / checkpoints.WEIGHTS).write_bytes(data)


def empty_weights(path):
    (path / checkpoints.WEIGHTS).write_bytes(b"")


def remove_weights(path):
    (path / checkpoints.WEIGHTS).unlink()


def cut_state(path):
    (path / "state.json").write_text((path / "state.json").read_text()[:20])


def remove_state(path):
    (path / "state.json").unlink()


def future_format(path):
    state = json.loads((path / "state.json").read_text()) | {"format": 99}
    (path / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize(
    "damage", [damage_weights, empty_weights, remove_weights, cut_state, remove_state, future_format]
)
def test_a_damaged_one_is_put_aside_and_the_one_before_used(model, tmp_path, damage):
    checkpoints.save_epoch(tmp_path, 1, model, {})
    checkpoints.save_epoch(tmp_path, 2, model, {})
    damage(tmp_path / "epoch_00000002")
    said = []
    assert checkpoints.latest(tmp_path, said.append).epoch == 1
    assert len(said) == 1
    assert "put aside" in said[0]
    assert "epoch_00000002" in said[0]
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


def test_none_and_half_written(model, tmp_path):
    (tmp_path / "epoch_00000001.tmp-12ab").mkdir()
    assert checkpoints.latest(tmp_path, print) is None
    assert not (tmp_path / "epoch_00000001.tmp-12ab").exists()


def test_a_failed_save_leaves_the_old_one(model, tmp_path, monkeypatch):
    checkpoints.save_epoch(tmp_path, 1, model, {})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save_epoch(tmp_path, 2, model, {})
    assert [p.name for p in tmp_path.iterdir()] == ["epoch_00000001"]


def test_weights_sha256_sees_values_and_names(model):
    first = checkpoints.weights_sha256(model)
    assert first == checkpoints.weights_sha256(model)
    kernel = model.weights[0].numpy()
    model.weights[0].assign(np.nextafter(kernel, np.inf))
    assert checkpoints.weights_sha256(model) != first
