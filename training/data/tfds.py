"""The reader of data sets of TensorFlow Datasets (TFDS), by name."""

import logging
import re
import socket
from contextlib import contextmanager
from urllib.parse import urlparse
from urllib.request import getproxies

import numpy as np

from keras_cnns.errors import unknown
from training.data.dataset import DataSet, Split, complete_splits, validate
from training.data.storage import Encoded, Pixels, max_bytes
from training.errors import DataError, some

# name[/config][:version]. Other names would make TFDS fetch code from elsewhere ("huggingface:...").
NAME = r"[A-Za-z][\w-]*(/[\w.-]+)?(:[\w.*]+)?"
CATALOG = "digits, tensorflow.org/datasets/catalog"
UNLABELLED_TEST = ("imagenet2012",)
SIGNS = ("mnist", "svhn", "digit", "omniglot", "alpha", "cmaterdb", "letters", "symbols", "dsprites", "smallnorb")


def load(name: str, *, data_dir: str | None = None) -> DataSet:
    """The data set `name`, downloaded and prepared first if it is not yet.

    It must have the features `image` and `label`. Images of one shape are decoded into memory; others, and those
    that would fill more than a third of the machine's memory, stay encoded in memory.

    Raises:
        DataError: unknown name, other features, no internet, too large, or an error in TFDS' own code.
    """
    import tensorflow  # noqa: F401 (without it TFDS loads, but does nothing)
    import tensorflow_datasets as tfds

    if not re.fullmatch(NAME, name):
        rule = "a TFDS data set's name must be a word, optionally with /config and :version"
        raise DataError(f"{rule}, got {name!r}")
    with quiet(tfds):
        builder = find_builder(tfds, name, data_dir)
        check_features(tfds, name, builder.info.features)
        prepare(name, builder)
        return read(tfds, name, builder)


@contextmanager
def quiet(tfds):
    """Without TFDS' progress bars and without a line for each of urllib3's retries."""
    retries, level = logging.getLogger("urllib3.connectionpool"), logging.getLogger("urllib3.connectionpool").level
    tfds.disable_progress_bar()
    retries.setLevel(logging.ERROR)
    try:
        yield
    finally:
        retries.setLevel(level)
        tfds.enable_progress_bar()


def find_builder(tfds, name: str, data_dir: str | None):
    """The builder of a name."""
    try:
        if "-" in name.split("/")[0]:  # no TFDS name has it, but many misspellings do
            raise tfds.core.registered.DatasetNotFoundError(name)
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError:
        known = [*tfds.list_builders(with_community_datasets=False), "digits"]
        raise DataError(
            f"{unknown('data set', name, known, CATALOG)}; there is no file or folder of that name either"
        ) from None
    except Exception as error:  # any error of a builder's constructor: bad config, bad version, old files
        raise DataError(f"data set {name!r}: {first_line(error)}") from None


def check_features(tfds, name: str, features) -> None:
    """Raises DataError unless the features are an 8-bit `image` of 1 or 3 channels and a class `label`."""
    names = sorted(features) if hasattr(features, "keys") else []
    if not {"image", "label"} <= set(names):
        raise DataError(f"data set {name!r} must have the features image and label, got {some(names)}")
    image, label = features["image"], features["label"]
    if not isinstance(label, tfds.features.ClassLabel):
        raise DataError(f"data set {name!r}: label must be one class per image, got {type(label).__name__}")
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise DataError(f"data set {name!r}: images must have 8 bits and 1 or 3 channels, got {image}")


def prepare(name: str, builder) -> None:
    """Downloads and prepares the data set if that has not been done."""
    if builder.is_prepared():
        return
    help_line = (
        "; if it is prepared elsewhere, give that tensorflow_datasets folder as data_dir or in TFDS_DATA_DIR"
    )
    missing = f"data set {name!r} is not prepared in {builder.data_dir}"
    hosts = {urlparse(url).hostname for url in url_infos(builder)} - {None}
    # Checked first, because TFDS tries for minutes. Behind a proxy the names may not resolve here.
    if hosts and not getproxies() and not any(map(resolves, hosts)):
        reason = f"there is no network to download it ({some(sorted(hosts))} cannot be found)"
        raise DataError(f"{missing} and {reason}{help_line}")
    try:
        builder.download_and_prepare()
    except Exception as error:  # any error of requests, urllib3, the file system or the builder
        reason = f"preparing or downloading it failed ({first_line(error)})"
        raise DataError(f"{missing} and {reason}{help_line}") from error


def url_infos(builder) -> list[str]:
    """The addresses from which a builder downloads, if it lists them."""
    try:
        return list(builder.url_infos or ())
    except Exception:  # builders without code or without a list of checksums
        return []


def resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def read(tfds, name: str, builder) -> DataSet:
    """The three splits of a prepared data set: decoded if shapes are fixed and fit in memory, else encoded."""
    info = builder.info
    base = name.split("/")[0].split(":")[0]
    have = [s for s in ("train", "validation", "test") if s in info.splits and info.splits[s].num_examples]
    if "train" not in have:
        raise DataError(f"data set {name!r} must have a train split, got {some(sorted(info.splits))}")
    if base in UNLABELLED_TEST and "validation" in have:
        have.remove("test") if "test" in have else None
    shape, count = image_shape(info), sum(info.splits[s].num_examples for s in have)
    if shape[0] is not None and count * shape[0] * shape[1] * shape[2] <= max_bytes():
        splits = [read_pixels(tfds, builder, s, shape) for s in have]
    else:
        check_memory(name, sum(info.splits[s].num_bytes for s in have), "folders of images")
        splits = [read_encoded(tfds, builder, s, shape[2]) for s in have]
    parts, how = complete_splits(dict(zip((s.replace("validation", "val") for s in have), splits, strict=True)))
    licence = f", licence {info.redistribution_info.license}" if info.redistribution_info.license else ""
    origin = f"TFDS {info.full_name}{' (' + info.homepage + ')' if info.homepage else ''}{licence}; {how}"
    classes = tuple(info.features["label"].names)
    return validate(DataSet(name, classes, *parts, shape, may_mirror(base), origin))


def image_shape(info) -> tuple[int | None, int | None, int]:
    height, width, channels = info.features["image"].shape
    return (height, width, channels) if None not in (height, width) else (None, None, channels)


def may_mirror(base: str) -> bool:
    """Whether a mirrored image keeps its class: not if the name is one of digits, letters or symbols."""
    return "fashion" in base or not any(sign in base for sign in SIGNS)


def check_memory(name: str, size: int, instead: str) -> None:
    """Raises DataError if encoded images of `size` bytes fill too much memory."""
    if size > max_bytes():
        raise DataError(
            f"data set {name!r}: images must fill at most a third of the memory ({max_bytes() / 2**30:.1f} GiB), "
            f"got {size / 2**30:.1f} GiB; write them as {instead} and give that path"
        )


def stream(tfds, builder, split: str, decoders):
    """The examples of one split in the order of its files, not shuffled and not cached."""
    config = tfds.ReadConfig(try_autocache=False, add_tfds_id=False)
    return builder.as_dataset(split=split, shuffle_files=False, read_config=config, decoders=decoders)


def read_pixels(tfds, builder, split: str, shape: tuple[int, int, int]) -> Split:
    wanted = tfds.decode.PartialDecoding({"image": True, "label": True})
    count = builder.info.splits[split].num_examples
    images, labels, done = np.empty((count, *shape), np.uint8), np.empty(count, np.int64), 0
    for batch in stream(tfds, builder, split, wanted).batch(1024).as_numpy_iterator():
        end = done + len(batch["label"])
        images[done:end], labels[done:end] = batch["image"], batch["label"]
        done = end
    return Split(Pixels(images), labels)


def read_encoded(tfds, builder, split: str, channels: int) -> Split:
    skip = tfds.decode.SkipDecoding()
    wanted = tfds.decode.PartialDecoding({"image": True, "label": True}, decoders={"image": skip})
    examples = list(stream(tfds, builder, split, wanted).as_numpy_iterator())
    return Split(Encoded(tuple(e["image"] for e in examples), channels), [e["label"] for e in examples])
