"""Figures of whole splits: crops, ensembles, losses."""

import keras
import numpy as np
import pytest

from keras_cnns.blocks.head import cross_entropy
from keras_cnns.preprocessing import UNIT
from training.classification import evaluation
from training.data.dataset import Split
from training.data.storage import Pixels
from training.engine.backends import backend


def test_ten_crops_are_corners_centre_and_mirrors():
    images = np.arange(2 * 6 * 6, dtype="float32").reshape(2, 6, 6, 1)
    crops = [np.asarray(c) for c in evaluation.ten_crops(images, 4)]
    assert len(crops) == 10
    np.testing.assert_array_equal(crops[0], images[:, :4, :4])
    np.testing.assert_array_equal(crops[3], images[:, 2:, 2:])
    np.testing.assert_array_equal(crops[4], images[:, 1:5, 1:5])
    for crop, mirror in zip(crops[:5], crops[5:], strict=True):
        np.testing.assert_array_equal(crop[:, :, ::-1], mirror)


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(4, 3)(image))
    return keras.Model(image, keras.layers.Dense(3, name="logits")(x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_ten_views_are_the_mean_probability(network):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (5, 16, 16, 3), dtype="uint8")
    split = Split(Pixels(pixels), np.array([0, 1, 2, 0, 1]))
    options = {"size": 14, "channels": 3, "preprocess": UNIT, "crop": 14 / 16}
    logits, labels = evaluation.split_logits(backend.forward(network), split, views="ten", **options)
    each = [softmax(np.asarray(network(c))) for c in evaluation.ten_crops(pixels.astype("float32") / 255, 14)]
    np.testing.assert_allclose(softmax(logits), np.mean(each, axis=0), rtol=1e-4)
    np.testing.assert_array_equal(labels, split.labels)
    centre, _ = evaluation.split_logits(backend.forward(network), split, views="centre", **options)
    np.testing.assert_allclose(softmax(centre), each[4], rtol=1e-4)


def test_an_ensemble_is_the_mean_probability():
    rng = np.random.default_rng(0)
    members = [rng.normal(size=(4, 3)).astype("float32") for _ in range(3)]
    labels = np.array([0, 1, 2, 0])
    logits, _ = evaluation.ensemble([(m, labels) for m in members])
    np.testing.assert_allclose(np.exp(logits), np.mean([softmax(m) for m in members], axis=0), rtol=1e-5)
    alone, _ = evaluation.ensemble([(members[0], labels)])
    assert alone is members[0]


def test_measure_is_the_mean_loss_and_the_share_of_right_answers():
    logits = np.array([[4.0, 0, 0], [0, 4, 0], [0, 0, 4], [0, 4, 0]], "float32")
    labels = np.array([0, 1, 2, 2])
    figures = evaluation.measure(logits, labels, cross_entropy())
    losses = -np.log(softmax(logits)[np.arange(4), labels])
    assert figures["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert (figures["top1"], figures["n"]) == (0.75, 4)
    np.testing.assert_array_equal(evaluation.confusion_of(logits, labels), [[1, 0, 0], [0, 1, 0], [0, 1, 1]])
