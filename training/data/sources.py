"""Loads the data set that `--data` names."""

import re
from pathlib import Path

import numpy as np

from training.data import folder, idx, npz, tfds
from training.data.dataset import DataSet, Split, cut_three, validate
from training.data.storage import Pixels
from training.errors import DataError

DIGITS = re.compile(r"digits(?::(\d{1,6}))?")


def load(spec: str, *, data_dir: str | None = None) -> DataSet:
    """The data set that `spec` names.

    `spec` is, in this order: an existing path (a folder of IDX files, a folder of class folders, an .npz file),
    the word `digits` (`digits:1`, `digits:2`, ... are other cuts of the same images), or the name of a TensorFlow
    data set (`cifar10`, `emnist/letters`, `mnist:3.0.1`).

    Args:
        data_dir: folder of TensorFlow data sets; None is TFDS' default.

    Raises:
        DataError: no data of that name, or data that cannot be used.
    """
    path = Path(spec).expanduser()
    if spec and path.exists():
        return load_path(path)
    if found := DIGITS.fullmatch(spec):
        return digits(int(found[1] or 0))
    if looks_like_path(spec):
        raise DataError(
            f"no folder or .npz file {spec!r}; --data takes a path, digits, or the name of a TFDS data set"
        )
    return tfds.load(spec, data_dir=data_dir)


def looks_like_path(spec: str) -> bool:
    """True if `spec` can only be a path: TFDS names are words, optionally with /config and :version."""
    return spec.endswith(".npz") or not re.fullmatch(tfds.NAME, spec)


def load_path(path: Path) -> DataSet:
    """The data set in a folder or file."""
    if path.is_dir():
        try:
            return idx.load(path) if idx.find(path) else folder.load(path)
        except PermissionError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if path.suffix.lower() == ".npz":
        return npz.load(path)
    raise DataError(f"{path}: a data file must be an .npz archive, got {path.suffix or 'a file without suffix'}")


def digits(cut: int = 0) -> DataSet:
    """scikit-learn's 1,797 digits: 8x8, grey, 1,257 for train, 180 for val, 360 for test.

    `cut` selects one of many cuts into the three splits, which shows how much a result depends on the test images.

    >>> data = digits()
    >>> len(data.train), len(data.val), len(data.test), data.image_shape
    (1257, 180, 360, (8, 8, 1))
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    # The source has the number of set pixels in 4x4 blocks: 0 to 16.
    pixels = np.rint(source.images * (255 / 16)).astype(np.uint8)[..., None]
    parts = cut_three(Split(Pixels(pixels), source.target), cut)
    origin = "scikit-learn's copy of the UCI optical digits (Alpaydin, Kaynak 1998, CC BY 4.0); split 70/10/20"
    origin += f", cut {cut}" if cut else ""
    return validate(DataSet("digits", tuple("0123456789"), *parts, (8, 8, 1), False, origin))
