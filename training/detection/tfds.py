"""The reader of detection data sets of TensorFlow Datasets, by name; several names are joined by a plus sign."""

import numpy as np

from training.data import tfds as classification_tfds
from training.data.storage import Encoded
from training.detection.annotations import cut_splits
from training.detection.dataset import BoxDataset, DetectionData, clip_and_pad
from training.errors import DataError, some

UNLABELLED_TEST = ("voc/2012", "coco/2014", "coco/2017")


def load(names: str, *, data_dir: str | None = None) -> DetectionData:
    """The data of `voc/2007`, or of a union such as `voc/2007+voc/2012`.

    Like published detectors, it trains on all labelled splits but test; a twentieth of them is held out as val. A
    union is tested on the first of its sets that has a labelled test split.

    Raises:
        DataError: unknown name, no boxes, no internet, too large, or sets of different classes.
    """
    import tensorflow  # noqa: F401 (without it TFDS loads, but does nothing)
    import tensorflow_datasets as tfds

    builders = []
    with classification_tfds.quiet(tfds):
        for name in names.split("+"):
            builder = classification_tfds.find_builder(tfds, name, data_dir)
            check_features(name, builder.info.features)
            classification_tfds.prepare(name, builder)
            builders.append((name, builder))
        classes = tuple(builders[0][1].info.features["objects"]["label"].names)
        for name, builder in builders[1:]:
            if tuple(builder.info.features["objects"]["label"].names) != classes:
                raise DataError(f"{names}: all sets of a union must have the same classes; {name} has others")
        return read(tfds, names, builders, classes)


def check_features(name: str, features) -> None:
    """Raises DataError unless there are images and objects with boxes and classes."""
    names = sorted(features) if hasattr(features, "keys") else []
    inner = getattr(features["objects"], "feature", None) if "objects" in names else None
    have = set(inner) if hasattr(inner, "keys") else set()
    if "image" not in names or not have >= {"bbox", "label"}:
        rule = "must have the features image, and objects with bbox and label"
        raise DataError(f"data set {name!r} {rule}, got {some(names)}")


def read(tfds, names: str, builders, classes: tuple[str, ...]) -> DetectionData:
    """All splits in memory, images encoded."""
    size = sum(b.info.splits[s].num_bytes for n, b in builders for s in labelled_splits(n, b))
    classification_tfds.check_memory(names, size, "a folder with COCO's annotations")
    examples, given = [], {"train": [], "test": []}
    for name, builder in builders:
        for split in labelled_splits(name, builder):
            found = list(stream(tfds, builder, split))
            part = "test" if split == "test" else "train"
            if part == "train" or not given["test"]:
                given[part] += range(len(examples), len(examples) + len(found))
                examples += found
    given = {k: v for k, v in given.items() if v}
    if "test" not in given:
        given = {"all": given["train"]}
    parts, how = cut_splits(given)
    whole, notes = to_box_dataset(examples)
    origin = f"TFDS {', '.join(b.info.full_name for _, b in builders)}; {how}"
    splits = {name: whole.take(rows) for name, rows in parts.items()}
    return DetectionData(names, classes, **splits, mirror=True, origin=origin, notes=tuple(notes))


def labelled_splits(name: str, builder) -> list[str]:
    """The splits with boxes."""
    have = [s for s in ("train", "validation", "test") if s in builder.info.splits]
    return [s for s in have if s != "test" or not name.startswith(UNLABELLED_TEST)]


def stream(tfds, builder, split: str):
    """Examples of a split as NumPy: encoded images, boxes from 0 to 1 as top, left, bottom, right."""
    yield from classification_tfds.stream(
        tfds, builder, split, {"image": tfds.decode.SkipDecoding()}
    ).as_numpy_iterator()


def to_box_dataset(examples: list[dict]) -> tuple[BoxDataset, list[str]]:
    """Examples as one `BoxDataset`, and lines for the log."""
    sizes, truths, ids = [], [], []
    for i, example in enumerate(examples):
        objects = example["objects"]
        size = image_size(example["image"])
        top, left, bottom, right = np.reshape(objects["bbox"], (-1, 4)).T
        boxes = np.stack([left * size[1], top * size[0], right * size[1], bottom * size[0]], axis=1)
        ignore = objects.get("is_difficult", objects.get("is_crowd", np.zeros(len(boxes), bool)))
        sizes.append(size)
        truths.append((boxes, objects["label"], ignore))
        name = example.get("image/filename", i)
        name = name.decode() if isinstance(name, bytes) else name
        ids.append(int(example["image/id"]) if "image/id" in example else name)
    images = Encoded(tuple(e["image"] for e in examples))
    arrays, notes = clip_and_pad(truths, sizes)
    return BoxDataset(images, np.array(sizes, np.int32), *arrays, tuple(ids)), notes


def image_size(encoded: bytes) -> tuple[int, int]:
    """Height and width, from the header alone."""
    import io

    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        return image.height, image.width
