"""Checkpoints: whole or not at all, damaged ones moved away, hashes of weights."""

import errno
import json

import keras
import numpy as np
import pytest

from training.engine.step import StepModel
from training.errors import RunError
from training.run_folder import checkpoints, tensors
from training.run_folder.checkpoints import BEST, STEP, Position

RUN = "a hash"


@pytest.fixture(scope="module")
def built():
    """A model after one update, and all its numbers."""
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    model = StepModel(x, keras.layers.Dense(3, name="logits")(keras.layers.Dropout(0.5)(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    step(model)
    return model, tensors.gather(model)


@pytest.fixture
def model(built):
    tensors.scatter(*built)
    return built[0]


def step(model):
    """One update, and the sums of the metrics after it."""
    model.fit(np.ones((2, 4), "float32"), np.array([0, 2]), verbose=0)


def save(folder, number, model, states=None, kind=STEP):
    checkpoints.save(folder, kind, Position(number // 10, number % 10, number), model, states or {}, RUN)


def latest(folder, say=print, kind=STEP):
    return checkpoints.latest(folder, kind, RUN, say)


def test_restores_weights_optimizer_random_states_metrics_and_callbacks(model, tmp_path):
    save(tmp_path, 31, model, {"best": {"best": 0.5, "epoch": 2}})
    before = tensors.gather(model)
    assert {name.split("/")[0] for name in before} == {"model", "optimizer", "metric"}
    assert any("seed_generator" in name for name in before), "dropout's state"
    step(model)
    assert any((before[name] != array).any() for name, array in tensors.gather(model).items())
    found = latest(tmp_path)
    assert (found.place, found.states) == (Position(3, 1, 31), {"best": {"best": 0.5, "epoch": 2}})
    sums = found.restore(model)
    for name, array in tensors.gather(model).items():
        np.testing.assert_array_equal(array, before[name])
    assert sums
    assert all(name.startswith("metric/") for name in sums)


def test_the_same_steps_follow(model, tmp_path):
    """Dropout draws what it would have drawn."""
    save(tmp_path, 1, model)
    step(model)
    want = checkpoints.weights_sha256(model)
    step(model)
    latest(tmp_path).restore(model)
    step(model)
    assert checkpoints.weights_sha256(model) == want


def test_keeps_the_last_two_of_a_kind(model, tmp_path):
    for number in range(1, 5):
        save(tmp_path, number, model)
        save(tmp_path, number, model, kind=BEST)
    names = ["best_00000003", "best_00000004", "step_00000003", "step_00000004"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_names_go_by_step_and_a_step_done_twice_takes_the_place(model, tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 0.0)
    save(tmp_path, 7, model, {"a": {"n": 1}})
    save(tmp_path, 7, model, {"a": {"n": 2}})
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000007"]
    assert latest(tmp_path).states == {"a": {"n": 2}}


def flip(name, share):
    def damage(path):
        data = bytearray((path / name).read_bytes())
        data[min(int(len(data) * share), len(data) - 1)] ^= 1
        (path / name).write_bytes(data)

    return damage


def cut(name, share):
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[: int(share * 100)])


def remove(name):
    return lambda path: (path / name).unlink()


FILES = (checkpoints.TENSORS, checkpoints.STATE, checkpoints.MANIFEST)
DAMAGES = {
    **{f"flip {n} {s}": flip(n, s) for n in FILES[:2] for s in (0, 0.37, 0.5, 0.83, 1)},
    **{f"cut {n} {s}": cut(n, s) for n in FILES for s in (0, 0.2)},
    **{f"remove {n}": remove(n) for n in FILES},
    "manifest of nothing": lambda path: (path / checkpoints.MANIFEST).write_text("[]"),
    "empty folder": lambda path: [p.unlink() for p in path.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_put_aside_and_the_one_before_used(model, tmp_path, damage):
    save(tmp_path, 1, model)
    save(tmp_path, 2, model)
    DAMAGES[damage](tmp_path / "step_00000002")
    said = []
    assert latest(tmp_path, said.append).place.number == 1
    assert len(said) == 1
    assert said[0].startswith("checkpoint step_00000002 is damaged")
    assert len(list((tmp_path / "quarantine").iterdir())) == 1
    assert latest(tmp_path, said.append).place.number == 1
    assert len(said) == 1


def test_other_versions_are_refused_with_both_numbers(model, tmp_path):
    save(tmp_path, 1, model)
    path = tmp_path / "step_00000001" / checkpoints.STATE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ValueError, match="step_00000001 must have format 2, got 99"):
        latest(tmp_path)
    assert not list(tmp_path.rglob("quarantine"))


def test_another_runs_checkpoint_is_refused(model, tmp_path):
    save(tmp_path, 1, model)
    with pytest.raises(ValueError, match="belongs to another run"):
        checkpoints.latest(tmp_path, STEP, "another hash", print)


def test_another_networks_tensors_are_refused_before_they_are_read(model, tmp_path):
    save(tmp_path, 1, model)
    x = keras.Input((4,))
    other = StepModel(x, keras.layers.Dense(2, name="logits")(keras.layers.Dropout(0.5)(x)))
    other.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    with pytest.raises(ValueError, match=r"logits/kernel must be float32 \(4, 2\), got float32 \(4, 3\)"):
        latest(tmp_path).restore(other)
    plain = StepModel(x, keras.layers.Dense(3, name="logits")(x))
    plain.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    with pytest.raises(ValueError, match="the tensors must be the model's"):
        latest(tmp_path).restore(plain)


def test_none_and_half_written(model, tmp_path):
    (tmp_path / "step_00000001.tmp-12ab").mkdir()
    assert latest(tmp_path) is None
    assert not (tmp_path / "step_00000001.tmp-12ab").exists()


@pytest.mark.parametrize("place", ["savez", "fsync", "rename"])
def test_a_full_disk_leaves_the_old_one(model, tmp_path, monkeypatch, place):
    save(tmp_path, 1, model)

    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    owner = {"savez": np, "fsync": checkpoints.os, "rename": checkpoints.os}[place]
    with monkeypatch.context() as patch:
        patch.setattr(owner, place, full)
        with pytest.raises(RunError, match=r"step_00000002 cannot be written \(No space left on device\)"):
            save(tmp_path, 2, model)
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001"]
    assert latest(tmp_path).place.number == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_never_saved(model, tmp_path, value):
    save(tmp_path, 1, model)
    model.weights[1].assign([0.0, value, 0.0])
    for kind in (STEP, BEST):
        with pytest.raises(RunError, match="logits/bias is not finite"):
            save(tmp_path, 2, model, kind=kind)
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001"]


def test_weights_sha256_sees_values_and_names(model):
    first = checkpoints.weights_sha256(model)
    assert first == checkpoints.weights_sha256(model)
    kernel = model.weights[0].numpy()
    model.weights[0].assign(np.nextafter(kernel, np.inf))
    assert checkpoints.weights_sha256(model) != first
