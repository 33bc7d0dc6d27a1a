"""Images with boxes and classes: the common form of all sources of detection data."""

from dataclasses import dataclass

import numpy as np

from training.data.storage import Encoded, Pixels
from training.errors import DataError

NONE = -1  # class that pads the lists of images with fewer boxes


@dataclass(frozen=True, eq=False)
class BoxDataset:
    """Images with boxes, addressed by index.

    Attributes:
        images: the images.
        sizes: height and width of each, int32 (n, 2).
        boxes: float32 (n, g, 4) in pixels as x1, y1, x2, y2; x2 and y2 are exclusive, so x2 - x1 is the width.
        labels: int32 (n, g), classes from 0; `NONE` pads images with fewer than g boxes.
        ignore: bool (n, g): VOC's difficult and COCO's crowd boxes, neither trained on nor counted.
        ids: the image ids of result files.
    """

    images: Pixels | Encoded
    sizes: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    ignore: np.ndarray
    ids: tuple

    def __post_init__(self):
        n, g = self.labels.shape
        shapes = (self.sizes.shape, self.boxes.shape, self.ignore.shape, len(self.ids), len(self.images))
        if shapes != ((n, 2), (n, g, 4), (n, g), n, n):
            raise ValueError(
                f"the arrays of {n} images of up to {g} boxes must have matching shapes, got {shapes}"
            )

    def __len__(self):
        return len(self.labels)

    def take(self, indices) -> "BoxDataset":
        """The images of these indices, in this order."""
        i = np.asarray(indices, np.int64)
        ids = tuple(self.ids[k] for k in i)
        return BoxDataset(self.images.take(i), self.sizes[i], self.boxes[i], self.labels[i], self.ignore[i], ids)

    def truth(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (k, 4), classes (k,) and ignore flags (k,) of one image."""
        real = self.labels[index] != NONE
        return self.boxes[index][real], self.labels[index][real], self.ignore[index][real]


@dataclass(frozen=True, eq=False)
class DetectionData:
    """Images with boxes in three disjoint splits.

    `mirror` says whether a mirrored object keeps its class. `origin` and `notes` are lines for the log: where the
    data come from, and what was left out or clipped. `categories` are the category ids of COCO's files, or ().
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
            largest = int(part.labels.max(initial=NONE))
            if largest >= len(self.classes):
                raise DataError(f"{self.name}: classes must be from 0 to {len(self.classes) - 1}, got {largest}")
        if not (self.train.labels != NONE).any():
            raise DataError(f"{self.name}: none of {len(self.train)} training images has a box")


def pad_boxes(truths: list[tuple]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boxes, classes, ignore flags) of each image, of different lengths, padded to three arrays."""
    longest = max([1, *(len(labels) for _, labels, _ in truths)])
    boxes = np.zeros((len(truths), longest, 4), np.float32)
    labels, ignore = np.full((len(truths), longest), NONE, np.int32), np.zeros((len(truths), longest), bool)
    for i, (own_boxes, own_labels, own_ignore) in enumerate(truths):
        k = len(own_labels)
        boxes[i, :k], labels[i, :k], ignore[i, :k] = np.reshape(own_boxes, (k, 4)), own_labels, own_ignore
    return boxes, labels, ignore


def clip_boxes(boxes, labels, ignore, size: tuple[int, int]):
    """Boxes clipped to the image, without empty and non-finite ones; the numbers of clipped and of dropped."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    height, width = size
    finite = np.isfinite(boxes).all(axis=1)
    inside = np.clip(np.where(finite[:, None], boxes, 0), 0, (width, height, width, height))
    good = finite & (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
    clipped = int((good & (inside != boxes).any(axis=1)).sum())
    return (inside[good], np.asarray(labels)[good], np.asarray(ignore)[good]), clipped, int((~good).sum())


def clipped_dataset(images: Encoded, sizes: list, truths: list[tuple], ids) -> tuple[BoxDataset, list[str]]:
    """The data set of the (boxes, classes, ignore flags) of each image, clipped to it; and lines for the log."""
    kept, clipped, dropped = zip(
        *(clip_boxes(*t, size) for t, size in zip(truths, sizes, strict=True)), strict=True
    )
    notes = []
    if sum(clipped):
        notes.append(f"{sum(clipped):,} boxes reached beyond their image and were clipped")
    if sum(dropped):
        notes.append(f"{sum(dropped):,} boxes without area or outside their image were left out")
    return BoxDataset(images, np.array(sizes, np.int32), *pad_boxes(kept), tuple(ids)), notes
