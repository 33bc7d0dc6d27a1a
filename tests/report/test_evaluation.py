"""Confusion matrix and scores against the slow and plain way."""

import numpy as np
import pytest

from training.report.evaluation import confusion, scores


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_confusion_is_the_loop(rng):
    labels, predictions = rng.integers(0, 7, (2, 500))
    slow = np.zeros((7, 7), np.int64)
    for i, j in zip(labels, predictions, strict=True):
        slow[i, j] += 1
    fast = confusion(labels.astype(np.uint8), predictions, 7)
    assert fast.dtype == np.int64
    np.testing.assert_array_equal(fast, slow)
    absent = confusion([0, 0], [2, 0], 4)
    assert (absent.dtype, absent.tolist()) == (np.int64, [[1, 0, 1, 0], [0] * 4, [0] * 4, [0] * 4])


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_scores_are_the_sorted_lists(rng, classes):
    outputs, labels = rng.normal(size=(200, classes)).astype(np.float32), rng.integers(0, classes, 200)
    losses = rng.random(200).astype(np.float32)
    result = scores(outputs, labels, losses)
    order = np.argsort(-outputs, axis=1, kind="stable")
    assert result["top1"] == np.mean(order[:, 0] == labels)
    assert result["top5"] == np.mean([y in row[:5] for y, row in zip(labels, order, strict=True)])
    assert result["loss"] == pytest.approx(losses.astype(np.float64).mean(), rel=1e-12)
    assert {k: type(v) for k, v in result.items()} == {"loss": float, "top1": float, "top5": float, "n": int}


def test_ties_follow_argmax_so_that_scores_and_confusion_agree(rng):
    outputs, labels = rng.integers(0, 3, (300, 8)), rng.integers(0, 8, 300)
    matrix = confusion(labels, np.argmax(outputs, axis=1), 8)
    result = scores(outputs, labels, np.zeros(300))
    assert result["top1"] == np.trace(matrix) / 300
    order = np.argsort(-outputs, axis=1, kind="stable")
    assert result["top5"] == np.mean((order[:, :5] == labels[:, None]).any(axis=1))


def test_nan_is_never_right():
    outputs = np.array([[np.nan, 1.0], [2.0, np.nan], [3.0, 1.0]])
    result = scores(outputs, [0, 0, 0], np.zeros(3))
    assert (result["top1"], result["top5"]) == (1 / 3, 1 / 3)


def test_bad_arrays_are_refused():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        confusion([0, 1], [0], 3)
    with pytest.raises(ValueError, match="n >= 1"):
        scores(np.zeros((0, 3)), [], [])
    with pytest.raises(ValueError, match="as many labels"):
        scores(np.zeros((2, 3)), [0, 1], [0.0])
