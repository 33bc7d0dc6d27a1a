"""NumPy archives (.npz) of images and labels."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from training.data.dataset import DataSet, Split, checked, cut_three, cut_val
from training.data.storage import Pixels, max_bytes
from training.errors import DataError

SMALL = 2**26  # bytes that do no harm, however they were packed
MOST_PRESSED = 300  # images are never packed tighter; zeros are, up to 1,032 times
LAYOUTS = (
    ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("x", "y"),
    ("images", "labels"),
)


def load(path: Path) -> DataSet:
    """The data set of one archive with one of the `LAYOUTS` of keys, and perhaps `classes`, the label names.

    Images are uint8 (n, h, w) or (n, h, w, 1 or 3), or floats in [0, 1]; labels are integers from 0 without gaps.
    What the images show is not known, so they are not mirrored.

    Raises:
        DataError: damaged archive, other keys, shapes, types or ranges, or counts that do not match.
    """
    arrays = read(path)
    layout = next((keys for keys in LAYOUTS if set(keys) == set(arrays) - {"classes"}), None)
    if layout is None:
        known = " or ".join(f"({', '.join(keys)})" for keys in LAYOUTS)
        raise DataError(f"{path}: the keys are {known}, and perhaps classes; ({', '.join(arrays)}) came")
    scaled = any(arrays[key].dtype.kind == "f" for key in layout[::2])
    splits = [split(path, arrays, x, y) for x, y in zip(layout[::2], layout[1::2], strict=True)]
    shape = splits[0].images.array.shape[1:]
    for other, key in zip(splits, layout[::2], strict=True):
        if other.images.array.shape[1:] != shape:
            raise DataError(f"{path}: all images have one shape; {layout[0]} has {shape}, "
                            f"{key} {other.images.array.shape[1:]}")  # fmt: skip
    parts, how = three(splits)
    classes = label_names(path, arrays.get("classes"), parts)
    origin = f"arrays of {path}; {how}; not mirrored, since what the images show is not known"
    if scaled:
        origin += "; floats in [0, 1] were scaled to 0-255"
    return checked(DataSet(path.stem, classes, *parts, shape, False, origin))


def three(splits: list[Split]) -> tuple[tuple[Split, Split, Split], str]:
    """Train, val and test from one, two or three splits, and how they came about."""
    if len(splits) == 3:
        return tuple(splits), "all splits are the data's own"
    if len(splits) == 2:
        return (*cut_val(splits[0]), splits[1]), "val is a tenth of train, test is the data's own"
    return cut_three(splits[0]), "split 70/10/20 into train, val and test"


def read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive. Pickled objects are refused: they could run code."""
    try:
        check_sizes(path)
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, TypeError) as error:
        raise DataError(
            f"{path}: no readable .npz archive of plain arrays ({str(error).splitlines()[0]})"
        ) from None


def headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Name -> shape and type of the arrays of an archive, which are not read themselves."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as file:
                form = np.lib.format
                old = form.read_magic(file) == (1, 0)
                shape, _, kind = (form.read_array_header_1_0 if old else form.read_array_header_2_0)(file)
                found[info.filename.removesuffix(".npy")] = (shape, kind)
                bulk = int(np.prod(shape, dtype=object)) * kind.itemsize
                # An object's size says nothing; NumPy refuses it when it is read.
                if not kind.hasobject and file.tell() + bulk != info.file_size:
                    raise ValueError(f"{info.filename} claims {kind} {shape} in {info.file_size:,} bytes")
    return found


def check_sizes(path: Path) -> None:
    """Raises ValueError, before anything is unpacked, for an archive that would fill the memory."""
    headers(path)
    with zipfile.ZipFile(path) as archive:
        total = sum(info.file_size for info in archive.infolist())
        if total > max_bytes():
            raise ValueError(f"unpacks to {total:,} bytes; at most {max_bytes():,} fit here")
        for info in archive.infolist():
            if info.file_size > max(SMALL, MOST_PRESSED * info.compress_size):
                raise ValueError(
                    f"unpacks {info.filename} from {info.compress_size:,} to {info.file_size:,} bytes"
                )


def split(path: Path, arrays: dict[str, np.ndarray], x: str, y: str) -> Split:
    """One split, checked: keys `x` (images) and `y` (labels)."""
    images, labels = arrays[x], arrays[y]
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise DataError(f"{path}: {x} must be (n, h, w) or (n, h, w, 1 or 3); {arrays[x].shape} came")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: {y} must be integers (n,) or (n, 1); {labels.dtype} {arrays[y].shape} came")
    if len(labels) != len(images):
        raise DataError(f"{path}: {len(images)} images in {x} need as many labels; {y} has {len(labels)}")
    if labels.min() < 0 or labels.max() > 2**31 - 1:
        raise DataError(f"{path}: labels start at 0; {y} has {labels.min()} to {labels.max()}")
    return Split(Pixels(to_uint8(path, x, images)), labels)


def to_uint8(path: Path, key: str, images: np.ndarray) -> np.ndarray:
    """uint8 as it is; floats in [0, 1] times 255, rounded; all else is refused."""
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind == "f":
        low, high = images.min(), images.max()
        # Written so that a NaN, which compares false with everything, is refused too.
        if low >= 0 and high <= 1:
            return np.rint(images * 255).astype(np.uint8)
        raise DataError(
            f"{path}: floats in {key} must lie in [0, 1]; {low:g} to {high:g} came (0-255 goes as uint8)"
        )
    raise DataError(f"{path}: {key} must be uint8, or floats in [0, 1]; {images.dtype} came")


def label_names(path: Path, given: np.ndarray | None, parts: tuple[Split, ...]) -> tuple[str, ...]:
    """The key `classes`, or the numbers 0 to the largest label."""
    count = 1 + max(int(part.labels.max(initial=0)) for part in parts)
    if given is None:
        return tuple(str(k) for k in range(count))
    if given.ndim != 1 or given.dtype.kind != "U" or len(given) < count or len(set(given.tolist())) < len(given):
        raise DataError(
            f"{path}: classes must be {count} different names (text); {given.dtype} {given.shape} came"
        )
    return tuple(given.tolist())
