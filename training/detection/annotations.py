"""Makes `DetectionData` of annotations: checks the image files, cuts the splits, writes the log's lines."""

import numpy as np

from training.data import folder
from training.data.dataset import SPLIT_SEED
from training.data.storage import Files
from training.detection.dataset import NONE, BoxDataset, DetectionData, clipped_dataset

Truth = tuple[list, list, list]  # boxes, classes, ignore flags of one image


def assemble(
    name: str,
    classes: tuple[str, ...],
    images: list[tuple[str, object, Truth]],
    splits: dict[str, list[int]],
    origin: str,
) -> DetectionData:
    """Detection data of (path, id, truth) of every image; `splits` has the indices of each split, or {"all": all}.

    Every image is decoded once. Up to 1 % of unreadable ones are left out and listed. Boxes are clipped to the
    stored image, and empty ones are left out.

    Raises:
        DataError: more unreadable images, no box at all, impossible classes.
    """
    paths, ids, truths = zip(*images, strict=True)
    sizes, reasons, turns = folder.inspect(list(paths))
    bad = folder.list_unreadable(name, paths, reasons)
    truths = [truth if size else ([], [], []) for truth, size in zip(truths, sizes, strict=True)]
    whole, notes = clipped_dataset(Files(paths, turns=turns), [size or (1, 1) for size in sizes], truths, ids)
    notes += [f"left out: {path} ({reason})" for path, reason in bad]
    if empty := int((whole.labels == NONE).all(axis=1).sum()) - len(bad):
        notes.append(f"{empty:,} images have no boxes: all of each is background")
    if turns:
        notes.append("some images have an EXIF rotation; boxes are taken to be those of the upright image")
    readable = {k: [i for i in v if not reasons[i]] for k, v in splits.items()}
    return cut_splits(name, classes, whole, readable, origin, notes)


def cut_splits(name: str, classes, whole: BoxDataset, given: dict[str, list[int]], origin: str, notes):
    """The `DetectionData` of train, val and test, cut from the given splits, the same at each call."""
    parts, how = dict(given), "the data's own splits"
    if "all" in given:
        order = np.random.RandomState(SPLIT_SEED).permutation(parts.pop("all"))
        test, val = -(-len(order) // 5), -(-len(order) // 10)
        parts["test"], parts["val"], parts["train"] = map(sorted, np.split(order, [test, test + val]))
        how = "split 70/10/20 into train, val and test"
    if "test" not in parts and "val" in parts:
        parts["test"] = parts.pop("val")
    if "val" not in parts:
        order = np.random.RandomState(SPLIT_SEED).permutation(parts["train"])
        parts["val"], parts["train"] = map(sorted, np.split(order, [-(-len(order) // 20)]))
        how += "; val is a twentieth of train"
    if "test" not in parts:
        parts["test"] = parts["val"]
        how += "; there is no test split, so val is used as test"
    splits = {k: whole.take(v) for k, v in parts.items()}
    return DetectionData(name, classes, **splits, mirror=True, origin=f"{origin}; {how}", notes=tuple(notes))
