"""Colour noise: against the papers' formulas, written out in NumPy."""

import itertools

import numpy as np
import pytest

from training.data.colour import EIGENVALUES, EIGENVECTORS, ORDERS, ColourJitter, PCANoise
from training.data.stateless_random import uniform

WEIGHTS = np.array([0.299, 0.587, 0.114])


def test_pca_noise_is_one_colour_an_image_of_the_components_size(pictures):
    n = 4000
    images = np.broadcast_to(pictures(1, 2, 2), (n, 2, 2, 3)).astype(np.float32)
    shifts = PCANoise(0.1)(images, uniform(0, 0, np.arange(n), 0)).numpy() - images
    assert np.ptp(shifts, axis=(1, 2)).max() < 1e-4
    amounts = shifts[:, 0, 0] @ np.array(EIGENVECTORS) / (255 * np.array(EIGENVALUES))
    np.testing.assert_allclose(amounts.std(0), 0.1, rtol=0.06)
    assert np.abs(amounts.mean(0)).max() < 0.01
    assert np.abs(np.corrcoef(amounts.T) - np.eye(3)).max() < 5 / n**0.5
    grey = PCANoise(0.1)(images[..., :1], uniform(0, 0, np.arange(n), 0)).numpy() - images[..., :1]
    np.testing.assert_allclose(grey[:, 0, 0, 0], shifts[:, 0, 0] @ WEIGHTS, atol=1e-3)


def stepwise(image, factors, order):
    for kind in order:
        base = (0, (image @ WEIGHTS).mean(), (image @ WEIGHTS)[..., None])[kind]
        image = base + factors[kind] * (image - base)
    return image


@pytest.mark.parametrize("place", range(6))
def test_jitter_is_its_three_steps_in_the_drawn_order(place, pictures):
    import tensorflow as tf

    image = pictures(1)
    values = (0.9, 0.2, 0.7, (place + 0.5) / 6)
    jittered = ColourJitter(0.4, 0.3, 0.2)(image, lambda k: tf.constant([values[k]], tf.float32)).numpy()
    factors = (1 + 0.4 * 0.8, 1 - 0.3 * 0.6, 1 + 0.2 * 0.4)
    np.testing.assert_allclose(jittered[0], stepwise(image[0], factors, ORDERS[place]), atol=0.02)
    grey = ColourJitter(0.4, 0.3, 0.2)(image[..., :1], lambda k: tf.constant([values[k]], tf.float32)).numpy()
    expected = stepwise(np.repeat(image[0, ..., :1], 3, -1), factors, ORDERS[place])
    np.testing.assert_allclose(grey[0], expected[..., :1], atol=0.02)


def test_jitter_without_ranges_is_nothing_and_orders_are_all(pictures):
    images = pictures(8)
    still = ColourJitter(0.0, 0.0, 0.0)(images, uniform(0, 0, np.arange(8), 0))
    np.testing.assert_allclose(still, images, atol=1e-3)
    assert sorted(ORDERS) == list(itertools.permutations(range(3)))


@pytest.mark.parametrize("known", [5, None])
@pytest.mark.parametrize("part", [ColourJitter(), PCANoise()])
def test_graphs_give_the_same_to_the_last_digit(part, known, pictures):
    import tensorflow as tf

    def change(images, index):
        return part(images, uniform(3, 0, index, 0))

    images, index = pictures(5, 20, 24), np.arange(5)
    like = [tf.TensorSpec((known, 20, 24, 3), tf.uint8), tf.TensorSpec((known,), tf.int64)]
    np.testing.assert_array_equal(tf.function(change, input_signature=like)(images, index), change(images, index))
