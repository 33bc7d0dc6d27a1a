"""A data set: images and labels in three splits, the common form of all sources; and how splits are cut."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from training.data.storage import Encoded, Pixels
from training.errors import DataError

# Every published number depends on it: a change moves images between train, val and test of every source.
SPLIT_SEED = 20151210

# Exact fractions: 0.2 * 1795 must not round up because of the last binary digit.
VAL_OF_TRAIN = Fraction(1, 10)
TEST_OF_ALL = Fraction(1, 5)
VAL_OF_ALL = Fraction(1, 10)

STATISTICS_SAMPLE = 2_000


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels (int32, one each), addressed by index."""

    images: Pixels | Encoded
    labels: np.ndarray

    def __post_init__(self):
        labels = np.asarray(self.labels, np.int32)
        if labels.shape != (len(self.images),):
            raise ValueError(
                f"labels of {len(self.images)} images must have that length, got shape {labels.shape}"
            )
        object.__setattr__(self, "labels", labels)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Image (uint8: height, width, channels) and label."""
        return self.images[index], int(self.labels[index])

    def take(self, indices) -> "Split":
        """The split of these indices, in this order."""
        indices = np.asarray(indices, np.int64)
        return Split(self.images.take(indices), self.labels[indices])


@dataclass(frozen=True, eq=False)
class DataSet:
    """Labelled images in three disjoint splits.

    `image_shape` is (height, width, channels), with None where sizes vary. `mirror` says whether a mirrored image
    keeps its class: true for photographs, false for digits, letters and unknown images.
    `origin` is one line for the log: where the images come from and how they were split.
    `skipped` lists (path, reason) of the files that could not be read.

    The split of a source without splits of its own is fixed, so `--seed` never moves an image between train and
    test: within each class the images are permuted by `SPLIT_SEED` and cut. A source with train and test gives a
    tenth of train to val; a source with neither gives a fifth to test and a tenth of all to val, rounded up.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    image_shape: tuple[int | None, int | None, int]
    mirror: bool
    origin: str
    skipped: tuple[tuple[str, str], ...] = ()

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over the train split, on the scale 0-255.

        Of encoded images it reads at most 2,000, at a fixed stride. Every pixel has the same weight.
        """
        counts = count_intensities(self.train.images).astype(np.float64)
        levels, total = np.arange(256), counts.sum(axis=1)
        mean = counts @ levels / total
        std = np.sqrt(np.maximum(counts @ levels**2 / total - mean**2, 0))
        # Four decimals: the same text in JSON on every machine.
        return tuple(round(float(m), 4) for m in mean), tuple(round(float(s), 4) for s in std)


def count_intensities(images: Pixels | Encoded) -> np.ndarray:
    """How often each of the 256 intensities occurs in each channel: int64 (channels, 256)."""
    if isinstance(images, Pixels):
        blocks = (images.array[i : i + 1024] for i in range(0, len(images), 1024))
    else:
        stride = -(-len(images) // STATISTICS_SAMPLE)
        blocks = (images[i] for i in range(0, len(images), stride))
    counts = np.zeros((images.channels, 256), np.int64)
    for block in blocks:
        for channel, row in enumerate(counts):
            row += np.bincount(block[..., channel].ravel(), minlength=256)
    return counts


# --- cutting ----------------------------------------------------------------------------------------------------


def hold_out(labels: np.ndarray, wanted: int, cut: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices (kept, held out), both ascending: `wanted` of the images, stratified by class.

    `cut` selects one of many cuts. Each class gives the same fraction, rounded by the largest remainder so that
    the total is right; but a class with two or more images gives at least one, and every class keeps at least one.

    >>> kept, held = hold_out(np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]), 2)
    >>> len(kept), len(held)
    (8, 2)
    """
    labels = np.asarray(labels)
    kinds, sizes = np.unique(labels, return_counts=True)
    quotas = sizes * wanted / max(len(labels), 1)
    gives = np.floor(quotas).astype(int)
    largest = np.argsort(gives - quotas, kind="stable")
    gives[largest[: wanted - gives.sum()]] += 1
    gives = np.minimum(np.maximum(gives, 1), sizes - 1)
    held = [np.zeros(0, np.int64)]
    for kind, give in zip(kinds, gives, strict=True):
        places = np.flatnonzero(labels == kind)
        # RandomState's stream never changes; that of the newer Generator may change between NumPy versions.
        order = np.random.RandomState([SPLIT_SEED + cut, int(kind)]).permutation(len(places))
        held.append(places[order[:give]])
    held = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), held), held


def cut_val(train: Split) -> tuple[Split, Split]:
    """(train, val) of a source without val: a tenth of train becomes val."""
    kept, held = hold_out(train.labels, ceil(len(train) * VAL_OF_TRAIN))
    return train.take(kept), train.take(held)


def cut_three(whole: Split, cut: int = 0) -> tuple[Split, Split, Split]:
    """(train, val, test) of a source without splits: 70, 10 and 20 % of it; `cut` selects one of many cuts."""
    rest, test = hold_out(whole.labels, ceil(len(whole) * TEST_OF_ALL), cut)
    kept, val = hold_out(whole.labels[rest], ceil(len(whole) * VAL_OF_ALL), cut)
    return whole.take(rest[kept]), whole.take(rest[val]), whole.take(test)


def complete_splits(given: dict[str, Split]) -> tuple[tuple[Split, Split, Split], str]:
    """Train, val and test, with missing ones cut from the given; and a phrase that says how.

    Without train, val and test, `given` has one split of any name. With train and val, val is used as test, which
    is measured once at the end, and a new val is cut from train.
    """
    if len(given) == 3:
        return (given["train"], given["val"], given["test"]), "all splits are the data's own"
    if len(given) == 1:
        return cut_three(*given.values()), "split 70/10/20 into train, val and test"
    if "test" in given:
        return (*cut_val(given["train"]), given["test"]), "val is a tenth of train, test is the data's own"
    return (*cut_val(given["train"]), given["val"]), "its val serves as test, val is a tenth of train"


def validate(data: DataSet) -> DataSet:
    """The data set, if a network can be trained and measured on it.

    Raises:
        DataError: fewer than two classes, a class without training images, a label without class, an empty split.
    """
    if len(data.classes) < 2:
        raise DataError(f"{data.name}: a classifier needs at least two classes, got {len(data.classes)}")
    for name in ("train", "val", "test"):
        labels = getattr(data, name).labels
        if not len(labels):
            raise DataError(f"{data.name}: the {name} split is empty; each class needs two or more images")
        wrong = labels[(labels < 0) | (labels >= len(data.classes))]
        if len(wrong):
            raise DataError(
                f"{data.name}: labels must be from 0 to {len(data.classes) - 1}, got {wrong[0]} in {name}"
            )
    empty = np.flatnonzero(np.bincount(data.train.labels, minlength=len(data.classes)) == 0)
    if len(empty):
        raise DataError(f"{data.name}: every class needs training images; {data.classes[empty[0]]!r} has none")
    return data
