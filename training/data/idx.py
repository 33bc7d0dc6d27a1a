"""The reader of IDX files, the format of MNIST (LeCun, Cortes, Burges; their page describes the header)."""

import gzip
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from training.data.dataset import DataSet, Split, complete_splits, validate
from training.data.storage import Pixels, max_bytes
from training.errors import DataError

NAMES = re.compile(r"(?P<split>train|t10k)-(?P<what>images|labels)[-.]idx[13]-ubyte(\.gz)?")
UBYTE = 0x08

# Xiao, Rasul, Vollgraf: Fashion-MNIST (2017), table 2.
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def find(folder: Path) -> dict[tuple[str, str], Path]:
    """The IDX files of a folder by (split, what): ("train", "images") and so on. Empty if there are none."""
    found = {}
    for path in sorted(folder.iterdir()):
        match = NAMES.fullmatch(path.name)
        if match:
            found.setdefault((match["split"], match["what"]), path)
    return found


def load(folder: Path) -> DataSet:
    """The data set of a folder with MNIST's four files, compressed (.gz) or not.

    A folder whose name contains "fashion" gets Fashion-MNIST's class names, and its images may be mirrored. In all
    others (digits, letters) the classes are named by their numbers and images are not mirrored.

    Raises:
        DataError: a file is missing, damaged or shorter than its header says; images and labels do not match.
    """
    files = find(folder)
    for split in ("train", "t10k"):
        for what, rank in (("images", 3), ("labels", 1)):
            if (split, what) not in files:
                name = f"{split}-{what}-idx{rank}-ubyte(.gz)"
                raise DataError(f"{folder}: IDX data must have four files; {name} is missing")
    train, test = (read_split(files[split, "images"], files[split, "labels"]) for split in ("train", "t10k"))
    if train.images.array.shape[1:] != test.images.array.shape[1:]:
        got = " and ".join(str(split.images.array.shape[1:3]) for split in (train, test))
        raise DataError(f"{folder}: the images of train and test must have one size, got {got}")
    fashion = "fashion" in folder.resolve().name.lower()
    classes = FASHION if fashion else tuple(str(k) for k in range(int(train.labels.max(initial=0)) + 1))
    shape = train.images.array.shape[1:]
    parts, how = complete_splits({"train": train, "test": test})
    return validate(
        DataSet(folder.resolve().name, classes, *parts, shape, fashion, f"IDX files of {folder}; {how}")
    )


def read_split(images: Path, labels: Path) -> Split:
    """One split: an IDX file of images (n, height, width) and one of labels (n)."""
    pixels, numbers = parse(images), parse(labels)
    if pixels.ndim != 3 or 0 in pixels.shape[1:]:
        raise DataError(f"{images}: images must have the shape (n, height, width), got {pixels.shape}")
    if numbers.shape != pixels.shape[:1]:
        raise DataError(
            f"{labels}: labels of {len(pixels)} images must have that length, got shape {numbers.shape}"
        )
    return Split(Pixels(pixels[..., None]), numbers)


def parse(path: Path) -> np.ndarray:
    """The array of one IDX file of unsigned bytes.

    The header has two zero bytes, the type, the rank, and each dimension as a big-endian 32-bit number.

    Raises:
        DataError: a wrong magic number, a length that is not that of the header, or a damaged .gz file.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != UBYTE or not 1 <= magic[3] <= 4:
                raise DataError(f"{path}: not an IDX file of unsigned bytes; it starts with 0x{magic.hex()}")
            header = file.read(4 * magic[3])
            if len(header) < 4 * magic[3]:
                raise DataError(f"{path}: truncated within its header")
            shape = struct.unpack(f">{magic[3]}I", header)
            size = int(np.prod(shape, dtype=object))
            if size > max_bytes():
                raise DataError(f"{path}: its header says {size:,} bytes {shape}, must be at most {max_bytes():,}")
            data = read_at_most(file, size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or unreadable ({error})") from None
    if len(data) != size:
        fault, got = ("truncated", f"{len(data):,}") if len(data) < size else ("too long", "more")
        raise DataError(f"{path}: {fault}; the header says {size:,} bytes {shape}, got {got}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def read_at_most(file, size: int) -> bytes:
    """Up to `size` bytes, in pieces: `read(size)` would allocate what a damaged header says."""
    pieces = []
    while size > 0 and (piece := file.read(min(size, 2**24))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
