"""A sweep over rates: ends when the loss runs away, suggests a rate, leaves a folder one can train in."""

import doctest

import keras
import numpy as np
from support import pixels

from training.recipes import schedules
from training.recipes.schedules import Rate, Sweep
from training.report import canvas, pictures
from training.run_folder import claim
from training.trainer import lr_finder


def test_examples_run():
    for module in (lr_finder, schedules):
        assert doctest.testmod(module).failed == 0


def recorded(high: float) -> lr_finder.LRFinderCallback:
    """A sweep over a linear problem, whose largest stable rate is known: 2 / the largest curvature."""
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(1, use_bias=False)(x))
    model.compile(keras.optimizers.SGD(Rate(1.0, Sweep(1e-4, high), None, 1, 200)), "mse")
    inputs = np.random.default_rng(0).normal(size=(12_800, 4)).astype("float32")
    recorder = lr_finder.LRFinderCallback()
    targets = inputs.sum(axis=1, keepdims=True)
    model.fit(inputs, targets, batch_size=64, verbose=0, shuffle=False, callbacks=[recorder])
    return recorder


def test_it_ends_when_the_loss_runs_away_and_suggests_a_stable_rate():
    recorder = recorded(high=100.0)
    assert len(recorder.losses) < 200
    assert recorder.rates == sorted(recorder.rates)
    np.testing.assert_allclose(recorder.rates[0], 1e-4, rtol=1e-3)
    rate = lr_finder.suggest(recorder.rates, lr_finder.smoothed(recorder.losses))
    assert 1e-3 < rate < 0.5, "curvature 2: unstable from 1 on"
    assert len(recorded(high=1e-3).losses) == 200


def test_the_first_valley_counts():
    """Past a jump the loss may fall once more, at a rate at which nothing can be begun."""
    rates = np.logspace(-4, 1, 101)
    falls = 2.3 - 0.8 / (1 + np.exp(-(np.arange(101) - 50) / 4))
    falls[60:] = 2.8
    falls[90:] = 0.5
    assert rates[45] < lr_finder.suggest(rates, falls) < rates[55]
    noisy = np.full(101, 2.3) - np.linspace(0, 0.2, 101)
    assert lr_finder.suggest(rates, noisy) <= rates[-1] / lr_finder.CAUTION


def test_smoothing_keeps_a_constant_and_a_length():
    np.testing.assert_allclose(lr_finder.smoothed([2.0] * 30), np.full(30, 2.0))
    assert len(lr_finder.smoothed([1.0, 2.0])) == 2


def test_the_picture_and_the_folder(tmp_path):
    rates, losses = np.logspace(-5, 1, 40), np.linspace(2, 1, 40)
    figure = pictures.rate_sweep(rates, losses, losses, 0.1, "a sweep")
    canvas.save(figure, tmp_path / lr_finder.PICTURE)
    assert pixels(figure).std() > 1
    for name in (lr_finder.TABLE, lr_finder.LOG):
        (tmp_path / name).touch()
    claim.check_folder(tmp_path)
    assert {lr_finder.PICTURE, lr_finder.TABLE, lr_finder.LOG} == set(claim.LR_FINDER_FILES)
