"""Rates at exact steps, and what scaling a recipe does to them."""

import math

import numpy as np
import pytest

from training.recipes.schedules import (
    Constant,
    Cosine,
    ExponentialSteps,
    FlatWarmUp,
    LinearWarmUp,
    Plateau,
    ProgressiveResizing,
    Rate,
    Steps,
    Sweep,
    Triangle,
)


def rates(schedule, warm_up=None, epochs=200, steps_per_epoch=10, rate=0.1, at=()):
    """Rates at fractional epochs."""
    made = Rate(rate, schedule, warm_up, epochs, steps_per_epoch)
    return [float(made(round(e * steps_per_epoch))) for e in at]


def test_steps_fall_at_their_epochs():
    got = rates(Steps((60, 120, 160), 0.2), at=(0, 59.9, 60, 119.9, 120, 160, 199))
    np.testing.assert_allclose(got, [0.1, 0.1, 0.02, 0.02, 0.004, 0.0008, 0.0008], rtol=1e-5)


def test_cosine_starts_full_halves_in_the_middle_and_ends_at_its_floor():
    np.testing.assert_allclose(rates(Cosine(), at=(0, 100, 200)), [0.1, 0.05, 0.0], atol=1e-8)
    np.testing.assert_allclose(rates(Cosine(0.1), at=(200,)), [0.01], rtol=1e-5)
    quarter = 0.05 * (1 + math.cos(math.pi / 4))
    np.testing.assert_allclose(rates(Cosine(), at=(50,)), [quarter], rtol=1e-5)


def test_linear_warm_up_rises_and_then_leaves_the_schedule_alone():
    got = rates(Constant(), LinearWarmUp(5), at=(0, 1, 2.5, 5, 50))
    assert 0 < got[0] < 1e-4
    np.testing.assert_allclose(got[1:], [0.02, 0.05, 0.1, 0.1], rtol=2e-3)


def test_flat_warm_up_is_counted_in_steps():
    made = Rate(0.1, Constant(), FlatWarmUp(400, 0.1), 164, 391)
    np.testing.assert_allclose([float(made(s)) for s in (0, 399, 400)], [0.01, 0.01, 0.1], rtol=1e-6)


def test_the_plateau_factor_multiplies_the_rate():
    made = Rate(0.1, Plateau(), None, 10, 10)
    made.plateau_factor.assign(0.01)
    assert float(made(7)) == pytest.approx(1e-3)


def test_scaling_keeps_a_step_at_its_share_of_the_run():
    assert Steps((60, 120, 160)).scaled(0.1).at == (6, 12, 16)
    assert LinearWarmUp(5).scaled(0.1).epochs == pytest.approx(0.5)
    assert FlatWarmUp(400).scaled(0.1) == FlatWarmUp(400)
    assert Plateau(patience=10).scaled(0.01).patience == 1


def test_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"Steps\.by must be float from 0 to 1, got 2"):
        Steps((3,), by=2)
    with pytest.raises(ValueError, match=r"Steps\.at"):
        Steps((-1,))


def test_a_triangle_rises_to_its_peak_and_falls_to_its_end():
    got = rates(Triangle(0.2, 0.25, 0.1), at=(0, 25, 50, 125, 200))
    np.testing.assert_allclose(got, [0.02, 0.06, 0.1, 0.055, 0.01], rtol=1e-5)
    assert Triangle().scaled(0.3) == Triangle()


def test_a_sweep_multiplies_the_rate_by_the_same_factor_every_step():
    got = np.array(rates(Sweep(1e-5, 10), rate=1.0, epochs=10, at=(0, 2.5, 5, 10)))
    np.testing.assert_allclose(got, [1e-5, 10**-3.5, 1e-2, 10], rtol=1e-4)


def test_images_grow_from_a_share_of_the_side_to_all_of_it():
    sides = [ProgressiveResizing(0.5, 0.5, 0.2, 4).side(epoch, 100, 224) for epoch in range(100)]
    assert set(sides[:51]) == {112}
    assert set(sides[80:]) == {224}
    assert sides == sorted(sides)
    assert all(side % 4 == 0 for side in sides)
    assert sides[65] == 168
    assert [ProgressiveResizing(0.5, 0.0, 1.0).side(e, 4, 32) for e in range(4)] == [32] * 4
    assert [ProgressiveResizing(0.5, 0.5, 0.5).side(e, 4, 32) for e in range(4)] == [16, 16, 32, 32]
    with pytest.raises(ValueError, match="delay plus finetune must be at most 1"):
        ProgressiveResizing(0.5, 0.7, 0.7)


def test_a_little_less_every_few_epochs():
    got = rates(ExponentialSteps(8, 0.96), at=(0, 7.9, 8, 16, 80), epochs=250)
    np.testing.assert_allclose(got, [0.1, 0.1, 0.096, 0.1 * 0.96**2, 0.1 * 0.96**10], rtol=1e-5)
    assert ExponentialSteps(8).scaled(0.5) == ExponentialSteps(4)
