"""Soft labels and mixed batches."""

import numpy as np
import pytest
import tensorflow as tf

from training.data.mix import CutMix, Mixup, MixupOrCutMix, soft_labels


def stream(steps=6, n=8, side=10):
    images = np.arange(steps * n, dtype="float32").reshape(steps, n, 1, 1, 1) * np.ones(
        (1, 1, side, side, 1), "float32"
    )
    labels = (np.arange(steps * n) % 4).reshape(steps, n).astype("int32")
    return tf.data.Dataset.from_tensor_slices((images, labels)), images, labels


def test_nothing_asked_nothing_changed():
    batches, _, _ = stream()
    assert soft_labels(batches, 4, 0.0, None, 0, 0) is batches


def test_smoothing():
    batches, images, labels = stream()
    for (x, y), want, right in zip(soft_labels(batches, 4, 0.1, None, 0, 0), images, labels, strict=True):
        np.testing.assert_array_equal(x, want)
        np.testing.assert_allclose(y, 0.9 * np.eye(4)[right] + 0.025, rtol=1e-6)


@pytest.mark.parametrize("mix", [Mixup(0.5), CutMix(1.0), MixupOrCutMix(0.5, 1.0)])
def test_labels_have_the_share_of_the_pixels(mix):
    batches, images, labels = stream()
    shares = []
    for (x, y), pure, right in zip(soft_labels(batches, 4, 0.0, mix, 3, 0), images, labels, strict=True):
        other = pure[::-1]
        share = float(np.mean((x.numpy() - other)[0] / (pure - other)[0]))  # of the own image
        shares.append(share)
        hot = np.eye(4)[right]
        np.testing.assert_allclose(y, share * hot + (1 - share) * hot[::-1], atol=1e-5)
        assert 0 <= share <= 1
    assert len(set(shares)) > 3


def test_a_box_is_a_box():
    batches, images, _ = stream(20)
    for (x, _), pure in zip(soft_labels(batches, 4, 0.0, CutMix(), 0, 0), images, strict=True):
        foreign = x.numpy()[0, :, :, 0] != pure[0, :, :, 0]
        rows, columns = foreign.any(1), foreign.any(0)
        np.testing.assert_array_equal(foreign, rows[:, None] & columns[None, :])


@pytest.mark.parametrize("mix", [Mixup(), CutMix()])
def test_a_continued_stream_mixes_as_the_unbroken_one(mix):
    batches, _, _ = stream()
    whole = list(soft_labels(batches, 4, 0.1, mix, 7, 0))
    rest = list(soft_labels(batches.skip(4), 4, 0.1, mix, 7, 4))
    for (x, y), (x2, y2) in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    other = list(soft_labels(batches, 4, 0.1, mix, 8, 0))
    assert any(np.abs(a[0] - b[0]).max() > 0 for a, b in zip(whole, other, strict=True))


def test_mixup_draws_beta():
    """Beta(0.2, 0.2) has mean 1/2 and variance 1/(4 (2 alpha + 1))."""
    zeros = tf.zeros((2, 1, 1, 1))
    ones = tf.stack([tf.ones((1,)), tf.zeros((1,))])
    draws = [float(Mixup(0.2)(zeros, ones, tf.constant([5, i], tf.int64))[1][0, 0]) for i in range(2000)]
    assert np.mean(draws) == pytest.approx(0.5, abs=0.03)
    assert np.var(draws) == pytest.approx(1 / (4 * 1.4), abs=0.015)


def test_either_is_one_of_the_two():
    batches, _, _ = stream(steps=40)
    either, mixup, cutmix = (
        [x.numpy() for x, _ in soft_labels(batches, 4, 0.0, mix, 3, 0)]
        for mix in (MixupOrCutMix(0.2, 1.0), Mixup(0.2), CutMix(1.0))
    )
    turns = []
    for got, one, other in zip(either, mixup, cutmix, strict=True):
        assert np.array_equal(got, one) or np.array_equal(got, other)
        turns.append(bool(np.array_equal(got, other)))
    assert 10 < sum(turns) < 30
