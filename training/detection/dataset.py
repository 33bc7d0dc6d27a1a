"""The one form that every source of boxes takes: images, and for each of them its boxes, classes and doubts."""

from dataclasses import dataclass

import numpy as np

from training.data.storage import Encoded, Pixels
from training.errors import DataError

NONE = -1  # class of a place without a box


@dataclass(frozen=True, eq=False)
class BoxDataset:
    """Images with boxes, addressed by index.

    Attributes:
        images: where the images lie.
        sizes: height and width of each, int32 (n, 2).
        boxes: float32 (n, g, 4) in pixels as x1, y1, x2, y2; the last pixel is inside, so x2 - x1 is the width.
        labels: int32 (n, g), classes from 0; `NONE` where an image has fewer boxes than the richest.
        doubtful: bool (n, g): VOC's difficult and COCO's crowds, not learned from and not counted.
        ids: what an image is called in files of answers.
    """

    images: Pixels | Encoded
    sizes: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    doubtful: np.ndarray
    ids: tuple

    def __post_init__(self):
        n, g = self.labels.shape
        shapes = (self.sizes.shape, self.boxes.shape, self.doubtful.shape, len(self.ids), len(self.images))
        if shapes != ((n, 2), (n, g, 4), (n, g), n, n):
            raise ValueError(f"{n} images of up to {g} boxes need as many of everything; {shapes} came")

    def __len__(self):
        return len(self.labels)

    def take(self, indices) -> "BoxDataset":
        """The images of these indices, in this order."""
        i = np.asarray(indices, np.int64)
        ids = tuple(self.ids[k] for k in i)
        return BoxDataset(self.images.take(i), self.sizes[i], self.boxes[i], self.labels[i], self.doubtful[i], ids)

    def truth(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (k, 4), classes (k,), doubts (k,) of one image."""
        there = self.labels[index] != NONE
        return self.boxes[index][there], self.labels[index][there], self.doubtful[index][there]


@dataclass(frozen=True, eq=False)
class DetectionData:
    """Images with boxes in three disjoint splits, and what the rest needs to know about them.

    `mirror` says whether a mirrored object is still one of its class. `origin` is a line for the log, `notes` are
    more: what was left out or mended, and why. `categories` are the classes' numbers in COCO's files, or ().
    """

    name: str
    classes: tuple[str, ...]
    train: BoxDataset
    val: BoxDataset
    test: BoxDataset
    mirror: bool
    origin: str
    notes: tuple[str, ...] = ()
    categories: tuple[int, ...] = ()

    def __post_init__(self):
        for name in ("train", "val", "test"):
            part = getattr(self, name)
            if not len(part):
                raise DataError(f"{self.name}: the {name} split has no images")
            most = int(part.labels.max(initial=NONE))
            if most >= len(self.classes):
                raise DataError(f"{self.name}: classes run from 0 to {len(self.classes) - 1}; {most} came")
        if not (self.train.labels != NONE).any():
            raise DataError(f"{self.name}: not one of {len(self.train)} training images has a box")


def packed(lists: list[tuple]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boxes, classes, doubts) of each image, of different lengths, as three arrays."""
    most = max([1, *(len(labels) for _, labels, _ in lists)])
    boxes = np.zeros((len(lists), most, 4), np.float32)
    labels, doubtful = np.full((len(lists), most), NONE, np.int32), np.zeros((len(lists), most), bool)
    for i, (some, kinds, doubts) in enumerate(lists):
        k = len(kinds)
        boxes[i, :k], labels[i, :k], doubtful[i, :k] = np.reshape(some, (k, 4)), kinds, doubts
    return boxes, labels, doubtful


def clip_boxes(boxes, labels, doubtful, size: tuple[int, int]):
    """Boxes cut off at the image's edges; what is left of no area, or is no number, goes. And how many of each."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    height, width = size
    finite = np.isfinite(boxes).all(axis=1)
    inside = np.clip(np.where(finite[:, None], boxes, 0), 0, (width, height, width, height))
    good = finite & (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
    cut = int((good & (inside != boxes).any(axis=1)).sum())
    kept = inside[good], np.asarray(labels)[good], np.asarray(doubtful)[good]
    return kept, cut, int((~good).sum())


def mending(cut: int, gone: int) -> tuple[str, ...]:
    """Lines for the log."""
    lines = [f"{cut:,} boxes reached beyond their image and were cut off"] if cut else []
    return (*lines, *([f"{gone:,} boxes without area or outside their image were left out"] if gone else []))
