"""What annotations that come with files share: the files looked at, the splits cut, the log's lines made."""

from pathlib import Path

import numpy as np

from training.data import folder
from training.data.dataset import SPLIT_SEED
from training.data.storage import Files
from training.detection.dataset import BoxDataset, DetectionData, clip_boxes, mending, packed
from training.errors import DataError, some

Truth = tuple[list, list, list]  # boxes, classes, doubts of one image


def assemble(
    name: str,
    classes: tuple[str, ...],
    images: list[tuple[str, object, Truth]],
    splits: dict[str, list[int]],
    origin: str,
    notes: tuple[str, ...] = (),
) -> DetectionData:
    """Scenes of (path, id, truth) of every image; `splits` says which are of which, or {"all": all}.

    Every image is decoded once. Up to 1 % of unreadable ones are left out and listed; boxes are cut off at the
    edges of the image as it is stored, and those of no area left out.

    Raises:
        DataError: more unreadable images, no box at all, classes that cannot be.
    """
    paths = [path for path, _, _ in images]
    sizes, reasons, turns = folder.inspect(paths)
    bad = [f"{paths[i]} ({reason})" for i, reason in enumerate(reasons) if reason]
    if len(bad) > folder.MAX_UNREADABLE * len(paths):
        raise DataError(
            f"{name}: at most 1 % of the images may be unreadable; {len(bad)} of {len(paths)} are: {some(bad)}"
        )
    truths, cut, gone = [], 0, 0
    for (_, _, truth), size in zip(images, sizes, strict=True):
        kept, one, other = clip_boxes(*truth, size) if size else ((np.zeros((0, 4)), [], []), 0, 0)
        truths.append(kept)
        cut, gone = cut + one, gone + other
    files = Files(tuple(paths), turns=turns)
    whole = BoxDataset(
        files,
        np.array([size or (1, 1) for size in sizes], np.int32),
        *packed(truths),
        tuple(key for _, key, _ in images),
    )
    parts, how = cut_splits({k: [i for i in v if not reasons[i]] for k, v in splits.items()})
    empty = sum(not len(kinds) for _, kinds, _ in truths) - len(bad)
    notes += mending(cut, gone) + tuple(f"left out: {line}" for line in bad)
    notes += (f"{empty:,} images have no boxes: all of each is background",) if empty else ()
    if turns:
        notes += ("some images are marked as turned; boxes are taken to be those of the upright image",)
    return DetectionData(
        name, classes, **{k: whole.take(v) for k, v in parts.items()}, mirror=True, origin=f"{origin}; {how}",
        notes=notes,
    )  # fmt: skip


def cut_splits(given: dict[str, list[int]]) -> tuple[dict[str, list[int]], str]:
    """Train, val and test of the splits that there are, always the same ones; and how, in words."""
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
        few = -(-len(order) // 20)
        parts["val"], parts["train"] = sorted(order[:few]), sorted(order[few:])
        how += "; val is a twentieth of train"
    if "test" not in parts:
        parts["test"] = parts["val"]
        how += "; there is no test split, val stands for it"
    return parts, how


def check_file(path: Path, what: str) -> Path:
    """The path, if there is such a file."""
    if not path.is_file():
        raise DataError(f"no {what} {str(path)!r}")
    return path
