"""Splits: disjoint, complete, stratified, the same for ever."""

import dataclasses

import numpy as np
import pytest

from training.data.dataset import DataSet, Split, cut_three, cut_val, hold_out, validate
from training.data.storage import Pixels
from training.errors import DataError


def numbered(labels):
    """A split whose image i shows the number i, so that images can be followed through the cutting."""
    n = len(labels)
    pixels = np.zeros((n, 1, 2, 1), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 1, 0] = np.arange(n) % 256, np.arange(n) // 256
    return Split(Pixels(pixels), labels)


def numbers(split):
    array = split.images.array.astype(int)
    return (array[:, 0, 0, 0] + 256 * array[:, 0, 1, 0]).tolist()


@pytest.mark.parametrize("sizes", [(50, 50), (700, 31, 2, 8), (1, 9, 9), (3, 3, 3), (178, 182, 177, 183, 181)])
def test_three_splits_are_disjoint_and_complete(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    whole = numbered(np.random.RandomState(0).permutation(labels))
    parts = cut_three(whole)
    seen = [number for part in parts for number in numbers(part)]
    assert sorted(seen) == list(range(len(labels)))
    for part in parts:
        assert [whole.labels[i] for i in numbers(part)] == part.labels.tolist()
    train, _, test = parts
    counts = [np.bincount(part.labels, minlength=len(sizes)) for part in parts]
    for kind, size in enumerate(sizes):
        assert counts[0][kind] >= 1
        assert size < 2 or counts[2][kind] >= 1
        assert size < 3 or counts[1][kind] >= 1
        if size >= 30:
            assert abs(counts[2][kind] - size / 5) <= 1
            assert abs(counts[1][kind] - size / 10) <= 1
    if min(sizes) >= 30:
        assert len(test) == -(-len(labels) // 5)
        assert len(train) == len(labels) - len(test) - -(-len(labels) // 10)


def test_val_is_cut_from_train_alone():
    source = numbered(np.arange(1000) % 7)
    train, val = cut_val(source)
    assert len(val) == 100
    assert sorted(numbers(train) + numbers(val)) == list(range(1000))
    assert np.ptp(np.bincount(val.labels)) <= 1


def test_the_cut_is_pinned():
    # These indices are part of every published number: if they change, results can no longer be compared.
    kept, held = hold_out(np.arange(20) % 2, 4)
    assert held.tolist() == [4, 7, 14, 17]
    assert sorted([*kept, *held]) == list(range(20))


def test_classes_cut_independently():
    one, two = np.zeros(30, int), np.repeat([0, 1], 30)
    assert hold_out(one, 6)[1].tolist() == [i for i in hold_out(two, 12)[1] if i < 30]


def test_mean_and_deviation():
    array = np.random.RandomState(1).randint(0, 256, (2500, 3, 4, 3)).astype(np.uint8)
    split = Split(Pixels(array), np.arange(2500) % 2)
    data = DataSet("x", ("a", "b"), split, split, split, (3, 4, 3), True, "")
    mean, std = data.mean_std()
    np.testing.assert_allclose(mean, array.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(std, array.std((0, 1, 2)), atol=1e-4)
    assert mean == tuple(round(m, 4) for m in mean)


def test_split_is_indexable():
    split = numbered([0, 1, 1])
    image, label = split[2]
    assert image.shape == (1, 2, 1)
    assert label == 1
    assert split.labels.dtype == np.int32
    assert numbers(split.take([2, 0])) == [2, 0]
    with pytest.raises(ValueError, match="labels of 3 images must have that length, got shape"):
        Split(split.images, [0, 1])
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.labels = None


@pytest.mark.parametrize(
    ("classes", "train", "val", "message"),
    [
        (("a",), [0, 0], [0], "x: a classifier needs at least two classes, got 1"),
        (("a", "b"), [0, 0], [1], "x: every class needs training images; 'b' has none"),
        (("a", "b"), [0, 1], [], "x: the val split is empty; each class needs two or more images"),
        (("a", "b"), [0, 1], [2], "x: labels must be from 0 to 1, got 2 in val"),
    ],
)
def test_unusable_sets_are_refused(classes, train, val, message):
    parts = numbered(train), numbered(val), numbered([0])
    with pytest.raises(DataError) as error:
        validate(DataSet("x", classes, *parts, (1, 2, 1), True, ""))
    assert str(error.value) == message
