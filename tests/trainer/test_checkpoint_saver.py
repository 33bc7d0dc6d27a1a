"""When a run saves."""

import time

import keras
import numpy as np
import pytest

from training.engine.step import StepModel
from training.processes import Pending, Terminated
from training.run_folder import checkpoints
from training.run_folder.checkpoints import START, Position
from training.trainer.checkpoint_saver import CheckpointSaver, ProgressCounter, SaveInterval

STEPS = 6


@pytest.fixture(scope="module")
def model():
    x = keras.Input((4,))
    made = StepModel(x, keras.layers.Dense(3, name="logits")(x))
    made.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return made


def fit(model, monkeypatch, folder, every, epochs=2, during=lambda saver: None):
    """Numbers of the checkpoints that a run of 6 steps an epoch writes."""
    saved = []
    monkeypatch.setattr(checkpoints, "save", lambda folder, kind, place, *rest: saved.append(place))
    counter, pending = ProgressCounter(START, {}, STEPS), Pending()
    saver = CheckpointSaver(folder, "run", every, counter, {}, pending)
    hook = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: during(saver))
    images, labels = np.ones((4 * STEPS, 4), "float32"), np.zeros(4 * STEPS)
    callbacks = [counter, hook, saver]
    try:
        model.fit(images, labels, batch_size=4, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks)
    except Terminated:
        saved.append("terminated")
    return saved


def test_every_so_many_steps_and_at_the_end_of_each_epoch(model, tmp_path, monkeypatch):
    got = fit(model, monkeypatch, tmp_path, SaveInterval(4, None))
    assert got == [Position(0, 4, 4), Position(1, 0, 6), Position(1, 4, 10), Position(2, 0, 12)]
    got = fit(model, monkeypatch, tmp_path, SaveInterval(3, None), epochs=1)
    assert got == [Position(0, 3, 3), Position(1, 0, 6)], "the last step's is the epoch's"


def test_every_so_many_seconds_by_a_clock_that_cannot_jump(model, tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: 5e8)

    def tick(saver):
        now[0] += 10

    assert fit(model, monkeypatch, tmp_path, SaveInterval(None, 25), 1, tick) == [
        Position(0, 3, 3),
        Position(1, 0, 6),
    ]
    assert fit(model, monkeypatch, tmp_path, SaveInterval(None, 1e6), 1, tick) == [Position(1, 0, 6)]


def test_a_slow_disk_is_used_less_often(model, tmp_path, monkeypatch):
    def slow(saver):
        saver.took = 1e6

    assert fit(model, monkeypatch, tmp_path, SaveInterval(None, 1e-9), 1, slow) == [Position(1, 0, 6)]


def test_a_signal_waits_for_the_end_of_the_step(model, tmp_path, monkeypatch):
    def signal(saver):
        if saver.progress.place.step == 2:
            saver.pending.number = 15

    assert fit(model, monkeypatch, tmp_path, SaveInterval(), during=signal) == [Position(0, 3, 3), "terminated"]
