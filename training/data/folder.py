"""The reader of image folders, with one folder per class; and checks of image files."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from training.data.dataset import DataSet, Split, complete_splits, validate
from training.data.storage import Files, Pixels
from training.errors import DataError, some

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
IMAGE_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "GIF")  # those that TensorFlow decodes; MPO is a longer JPEG
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
MAX_PIXELS = 2**27
MAX_UNREADABLE = 0.01
MAX_DECODED_BYTES = 2**30
ORIENTATION = 0x0112  # EXIF's tag


def load(folder: Path) -> DataSet:
    """The data set of DIR/class/image, or of DIR/{train,val,test}/class/image.

    Classes are the sorted names of the folders; subfolders may have images, too. Hidden files are ignored; files
    with other suffixes are counted in `origin`. Every image is decoded once; unreadable ones are left out and
    listed in `skipped`. Images of one size that fit in 1 GiB are kept decoded in memory.

    Raises:
        DataError: no class folders, an empty class, fewer than two classes, splits with different classes,
            more than 1 % of the files unreadable.
    """
    roots = split_roots(folder)
    classes = class_names(folder, roots)
    paths, labels, owners, others = [], [], [], 0
    for split, root in roots.items():
        for label, name in enumerate(classes):
            images, rest = image_files(root / name)
            if not images:
                raise DataError(f"{root / name}: the class {name!r} has no images ({', '.join(SUFFIXES)})")
            paths += images
            labels += [label] * len(images)
            owners += [split] * len(images)
            others += rest
    sizes, reasons, turns = inspect(paths)
    skipped = list_unreadable(str(folder), paths, reasons)
    good = {s: [i for i, owner in enumerate(owners) if owner == s and not reasons[i]] for s in roots}
    return assemble(folder, classes, Files(tuple(paths), turns=turns), labels, sizes, good, skipped, others)


def to_measure(folder: Path, wanted: str | None = None) -> tuple[tuple[str, ...], Split, str, list[str]]:
    """(classes, images, name of the split, lines for the log) of one split, to measure published weights.

    `wanted` is train, val or test; by default the data's own test split, else its val, else all images. Only that
    split is read. As in published evaluations, the EXIF orientation is ignored.

    Raises:
        DataError: as `load`; or no such split.
    """
    roots = split_roots(folder)
    name = wanted or next(s for s in ("test", "val", "all") if s in roots)
    if name not in roots:
        raise DataError(f"{folder}: no folder {name!r}, got {some(roots)}")
    classes = class_names(folder, {name: roots[name]})
    found = [image_files(roots[name] / c)[0] for c in classes]
    paths = [path for images in found for path in images]
    labels = np.repeat(np.arange(len(classes)), [len(images) for images in found])
    reasons = inspect(paths)[1]
    good = [i for i, reason in enumerate(reasons) if not reason]
    if len(paths) - len(good) > MAX_UNREADABLE * len(paths) or not good:
        raise DataError(f"{folder}: {len(paths) - len(good)} of {len(paths)} images of {name!r} are unreadable")
    notes = [f"left out: {path}: {reason}" for path, reason in zip(paths, reasons, strict=True) if reason]
    return classes, Split(Files(tuple(paths[i] for i in good)), labels[good]), name, notes


def split_roots(folder: Path) -> dict[str, Path]:
    """Split name -> folder of its class folders; {"all": folder} if the data has no splits."""
    found = [d for d in visible(folder) if d.is_dir()]
    named = [d for d in found if d.name.lower() in SPLIT_NAMES]
    roots = {SPLIT_NAMES[d.name.lower()]: d for d in named}
    if "train" not in roots or len(roots) < 2 or len(named) < len(found):
        return {"all": folder}
    if len(roots) < len(named):
        raise DataError(f"{folder}: each split must have one folder, got {some(d.name for d in named)}")
    return {name: roots[name] for name in ("train", "val", "test") if name in roots}


def class_names(folder: Path, roots: dict[str, Path]) -> tuple[str, ...]:
    """The sorted names of the class folders, the same in every split."""
    names = {split: sorted(d.name for d in visible(root) if d.is_dir()) for split, root in roots.items()}
    first = next(iter(names))
    if not names[first]:
        images = any(path.suffix.lower() in SUFFIXES for path in visible(roots[first]))
        got = "images directly in the folder" if images else "no folder inside"
        raise DataError(f"{roots[first]}: images must be in one folder per class (DIR/cat/1.jpg), got {got}")
    for split, found in names.items():
        different = sorted(set(found) ^ set(names[first]))
        if different:
            where = first if different[0] in found else split
            raise DataError(f"{folder}: all splits need the same classes; {different[0]!r} is missing in {where}")
    if len(names[first]) < 2:
        raise DataError(f"{folder}: a classifier needs at least two classes, got only {names[first][0]!r}")
    return tuple(names[first])


def visible(folder: Path) -> list[Path]:
    """The files and folders in a folder, sorted, without hidden ones."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None


def image_files(folder: Path) -> tuple[list[str], int]:
    """The image files in a folder and its subfolders, sorted, and the number of other files.

    Symbolic links to folders are not followed, since links can form a cycle.
    """
    images, others = [], 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(d for d in folders if not d.startswith("."))
        for name in sorted(f for f in files if not f.startswith(".")):
            if name.lower().endswith(SUFFIXES):
                images.append(os.path.join(place, name))
            else:
                others += 1
    return images, others


# --- reading ----------------------------------------------------------------------------------------------------


def inspect(paths: list[str]) -> tuple[list[tuple[int, int] | None], list[str | None], tuple[int, ...]]:
    """Decodes every file once: (height, width) or None, None or the error, and EXIF orientation of each."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        results = list(pool.map(examine, paths))
    turns = tuple(turn for _, _, turn in results)
    return (
        [size for size, _, _ in results],
        [reason for _, reason, _ in results],
        turns if set(turns) - {1} else (),
    )


def list_unreadable(name: str, paths, reasons) -> tuple[tuple[str, str], ...]:
    """(path, reason) of the unreadable files. Raises DataError if more than 1 % are unreadable."""
    bad = tuple((path, reason) for path, reason in zip(paths, reasons, strict=True) if reason)
    if len(bad) > MAX_UNREADABLE * len(paths):
        listed = some(f"{path} ({reason})" for path, reason in bad)
        rule = "at most 1 % of the images may be unreadable"
        raise DataError(f"{name}: {rule}, got {len(bad)} of {len(paths)}: {listed}")
    return bad


def decoded(path: str, turn: int) -> np.ndarray:
    """A file's image as training decodes it, upright. Raises ValueError if that fails."""
    import tensorflow as tf

    try:
        return Files((path,), turns=(turn,) if turn > 1 else ())[0]
    except tf.errors.InvalidArgumentError:
        raise ValueError("truncated or damaged") from None
    except tf.errors.OpError as error:
        raise ValueError(str(error)) from None


def examine(path: str) -> tuple[tuple[int, int] | None, str | None, int]:
    """((height, width), None, EXIF orientation) of a readable image, else (None, reason, 1)."""
    image, reason, turn = read(path)
    return None if image is None else tuple(image.shape[:2]), reason, turn


def read(path: str, decode: Callable = decoded) -> tuple[np.ndarray | None, str | None, int]:
    """(upright uint8 image, None, EXIF orientation) of a file, else (None, reason, 1).

    The header is read first, so that a small file with a huge declared size is never decompressed. Then training's
    own decoder decodes the file: only that shows that training can read it.
    """
    import warnings

    from PIL import Image

    try:
        if not os.path.getsize(path):
            return None, "empty file", 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                kind, (width, height) = image.format, image.size
                frames = getattr(image, "n_frames", 1) if kind == "GIF" else 1  # the first needs all of them
                turn = orientation(image)
        if kind not in IMAGE_FORMATS:
            return None, f"{kind} is not JPEG, PNG, BMP or GIF", 1
        if width * height * frames > MAX_PIXELS:
            times = f" {frames:,} times" if frames > 1 else ""
            return None, f"{width}x{height}{times} is more than {MAX_PIXELS:,} pixels", 1
        return decode(path, turn), None, turn
    except Image.DecompressionBombError:
        reason = f"more than {MAX_PIXELS:,} pixels"
    except Image.UnidentifiedImageError:
        reason = "no image inside"
    except (OSError, SyntaxError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
    return None, reason, 1


def orientation(image) -> int:
    """EXIF orientation of a Pillow image whose header was read: 1 as stored, 2 to 8 rotated or mirrored.

    Only the header is read. A PNG may have EXIF data after its pixels, but to find it means reading them all.
    """
    if image.format not in ("JPEG", "MPO") and "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # any error of damaged EXIF data: the image is still usable
        return 1
    return value if value in range(1, 9) else 1


def unreadable(split: Split) -> list[tuple[str, str]]:
    """(path, reason) of the files of a split that cannot be read now; empty for images in memory.

    tf.data's own errors do not name the damaged file. This function finds it after a training step has failed.
    """
    if not isinstance(split.images, Files):
        return []
    reasons = inspect(list(split.images.items))[1]
    return [(path, reason) for path, reason in zip(split.images.items, reasons, strict=True) if reason]


def assemble(folder, classes, files, labels, sizes, good, skipped, others) -> DataSet:
    """The data set of the readable files; `good` is split name -> indices of its readable files."""
    shapes = {sizes[i] for indices in good.values() for i in indices}
    height, width = shapes.pop() if len(shapes) == 1 else (None, None)
    small = height is not None and sum(map(len, good.values())) * height * width * 3 <= MAX_DECODED_BYTES
    splits = {}
    for name, indices in good.items():
        own = files.take(indices)
        splits[name] = Split(in_memory(own, height, width) if small else own, [labels[i] for i in indices])
    parts, how = complete_splits(splits)
    origin = f"image folders of {folder}; {how}"
    origin += f"; {others:,} other files ignored" if others else ""
    origin += f"; {len(skipped):,} unreadable images left out" if skipped else ""
    return validate(DataSet(folder.resolve().name, classes, *parts, (height, width, 3), True, origin, skipped))


def in_memory(files: Files, height: int, width: int) -> Pixels:
    """All images decoded, in one array."""
    array = np.empty((len(files), height, width, 3), np.uint8)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for index, image in enumerate(pool.map(files.__getitem__, range(len(files)))):
            array[index] = image
    return Pixels(array)
