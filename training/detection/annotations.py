"""Detection data of annotations and image files: checks the images, cuts the splits, writes the log's lines."""

from pathlib import Path

import numpy as np

from training.data import folder
from training.data.dataset import SPLIT_SEED
from training.data.storage import Files
from training.detection.dataset import NONE, BoxDataset, DetectionData, clip_and_pad
from training.errors import DataError, some

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
    bad = [f"{paths[i]} ({reason})" for i, reason in enumerate(reasons) if reason]
    if len(bad) > folder.MAX_UNREADABLE * len(paths):
        raise DataError(
            f"{name}: at most 1 % of the images may be unreadable; {len(bad)} of {len(paths)} are: {some(bad)}"
        )
    truths = [truth if size else ([], [], []) for truth, size in zip(truths, sizes, strict=True)]
    sizes = [size or (1, 1) for size in sizes]
    (boxes, labels, ignore), notes = clip_and_pad(truths, sizes)
    files = Files(paths, turns=turns)
    whole = BoxDataset(files, np.array(sizes, np.int32), boxes, labels, ignore, ids)
    parts, how = cut_splits({k: [i for i in v if not reasons[i]] for k, v in splits.items()})
    notes += [f"left out: {line}" for line in bad]
    if empty := int((labels == NONE).all(axis=1).sum()) - len(bad):
        notes.append(f"{empty:,} images have no boxes: all of each is background")
    if turns:
        notes.append("some images have an EXIF rotation; boxes are taken to be those of the upright image")
    parts = {k: whole.take(v) for k, v in parts.items()}
    return DetectionData(name, classes, **parts, mirror=True, origin=f"{origin}; {how}", notes=tuple(notes))


def cut_splits(given: dict[str, list[int]]) -> tuple[dict[str, list[int]], str]:
    """Train, val and test cut from the given splits, the same at each call; and a phrase that says how."""
    if "all" in given:
        order = list(np.random.RandomState(SPLIT_SEED).permutation(given["all"]))
        test, val = -(-len(order) // 5), -(-len(order) // 10)
        parts = {"test": order[:test], "val": order[test : test + val], "train": order[test + val :]}
        return {k: sorted(v) for k, v in parts.items()}, "split 70/10/20 into train, val and test"
    parts = dict(given)
    if "test" not in parts and "val" in parts:
        parts["test"] = parts.pop("val")
    how = "the data's own splits"
    if "val" not in parts:
        order = np.random.RandomState(SPLIT_SEED).permutation(parts["train"])
        count = -(-len(order) // 20)
        parts["val"], parts["train"] = sorted(order[:count]), sorted(order[count:])
        how += "; val is a twentieth of train"
    if "test" not in parts:
        parts["test"] = parts["val"]
        how += "; there is no test split, so val is used as test"
    return parts, how


def check_file(path: Path, what: str) -> Path:
    """The path. Raises DataError if no such file exists."""
    if not path.is_file():
        raise DataError(f"no {what} {str(path)!r}")
    return path
