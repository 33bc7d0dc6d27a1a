"""The reader of NumPy archives (.npz) of images and labels."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from training.data.dataset import DataSet, Split, complete_splits, validate
from training.data.storage import Pixels, max_bytes
from training.errors import DataError

SMALL = 2**26  # bytes; smaller arrays are accepted with any compression
MAX_COMPRESSION = 300  # images are never compressed more; zeros are, up to 1,032 times
LAYOUTS = (
    ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("x", "y"),
    ("images", "labels"),
)


def load(path: Path) -> DataSet:
    """The data set of an archive with one of the `LAYOUTS` of keys, and optionally `classes`, the label names.

    Images are uint8 (n, h, w) or (n, h, w, 1 or 3), or floats in [0, 1]; labels are integers from 0 without gaps.
    Images are not mirrored, since their content is unknown.

    Raises:
        DataError: a damaged archive, other keys, shapes, types or ranges, or counts that do not match.
    """
    arrays = read(path)
    layout = next((keys for keys in LAYOUTS if set(keys) == set(arrays) - {"classes"}), None)
    if layout is None:
        known = " or ".join(f"({', '.join(keys)})" for keys in LAYOUTS)
        raise DataError(f"{path}: the keys must be {known}, and optionally classes, got ({', '.join(arrays)})")
    scaled = any(arrays[key].dtype.kind == "f" for key in layout[::2])
    splits = {x: read_split(path, arrays, x, y) for x, y in zip(layout[::2], layout[1::2], strict=True)}
    shapes = {x: split.images.array.shape[1:] for x, split in splits.items()}
    shape = shapes[layout[0]]
    if set(shapes.values()) != {shape}:
        listed = ", ".join(f"{x} {own}" for x, own in shapes.items())
        raise DataError(f"{path}: all images must have one shape, got {listed}")
    parts, how = complete_splits({x.removeprefix("x_"): split for x, split in splits.items()})
    classes = label_names(path, arrays.get("classes"), parts)
    origin = f"arrays of {path}; {how}; not mirrored, since the content of the images is unknown"
    if scaled:
        origin += "; floats in [0, 1] were scaled to 0-255"
    return validate(DataSet(path.stem, classes, *parts, shape, False, origin))


def read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive. Pickled objects raise an error, because they could run code."""
    try:
        check_sizes(path)
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: no readable .npz archive of plain arrays ({reason})") from None


def headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Name -> shape and type of the arrays of an archive, without reading the arrays."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as file:
                form = np.lib.format
                old = form.read_magic(file) == (1, 0)
                shape, _, kind = (form.read_array_header_1_0 if old else form.read_array_header_2_0)(file)
                found[info.filename.removesuffix(".npy")] = (shape, kind)
                bulk = int(np.prod(shape, dtype=object)) * kind.itemsize
                # An object array has no known size; NumPy raises an error when it is read.
                if not kind.hasobject and file.tell() + bulk != info.file_size:
                    raise ValueError(f"{info.filename} says {kind} {shape} but has {info.file_size:,} bytes")
    return found


def check_sizes(path: Path) -> None:
    """Raises ValueError, before anything is decompressed, for an archive that would fill the memory."""
    headers(path)
    with zipfile.ZipFile(path) as archive:
        total = sum(info.file_size for info in archive.infolist())
        if total > max_bytes():
            raise ValueError(f"must decompress to at most {max_bytes():,} bytes, got {total:,}")
        for info in archive.infolist():
            if info.file_size > max(SMALL, MAX_COMPRESSION * info.compress_size):
                sizes = f"{info.compress_size:,} to {info.file_size:,}"
                raise ValueError(
                    f"{info.filename} decompresses from {sizes} bytes, more than {MAX_COMPRESSION} times"
                )


def read_split(path: Path, arrays: dict[str, np.ndarray], x: str, y: str) -> Split:
    """One split, checked: keys `x` (images) and `y` (labels)."""
    images, labels = arrays[x], arrays[y]
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise DataError(f"{path}: {x} must be (n, h, w) or (n, h, w, 1 or 3), got {arrays[x].shape}")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: {y} must be integers (n,) or (n, 1), got {labels.dtype} {arrays[y].shape}")
    if len(labels) != len(images):
        raise DataError(f"{path}: {y} must have the length of {x}, {len(images)}, got {len(labels)}")
    if labels.min() < 0 or labels.max() > 2**31 - 1:
        raise DataError(f"{path}: labels must start at 0, got {labels.min()} to {labels.max()} in {y}")
    return Split(Pixels(to_uint8(path, x, images)), labels)


def to_uint8(path: Path, key: str, images: np.ndarray) -> np.ndarray:
    """uint8 unchanged; floats in [0, 1] times 255, rounded. Other types and ranges raise DataError."""
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind == "f":
        low, high = images.min(), images.max()
        # In this form a NaN, for which each comparison is false, is an error, too.
        if low >= 0 and high <= 1:
            return np.rint(images * 255).astype(np.uint8)
        raise DataError(
            f"{path}: floats in {key} must be in [0, 1], got {low:g} to {high:g} (give 0-255 as uint8)"
        )
    raise DataError(f"{path}: {key} must be uint8, or floats in [0, 1], got {images.dtype}")


def label_names(path: Path, given: np.ndarray | None, parts: tuple[Split, ...]) -> tuple[str, ...]:
    """The key `classes`, or the numbers 0 to the largest label."""
    count = 1 + max(int(part.labels.max(initial=0)) for part in parts)
    if given is None:
        return tuple(str(k) for k in range(count))
    if given.ndim != 1 or given.dtype.kind != "U" or len(given) < count or len(set(given.tolist())) < len(given):
        got = f"{given.dtype} {given.shape}"
        raise DataError(f"{path}: classes must be {count} different names (text), got {got}")
    return tuple(given.tolist())
