"""The reader of detection data sets of TensorFlow Datasets, by name; several names are joined by a plus sign."""

import io

import numpy as np

from training.data import tfds as classification_tfds
from training.data.storage import Encoded
from training.detection.annotations import cut_splits
from training.detection.dataset import DetectionData, clipped_dataset
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
    labelled = [
        (builder, split)
        for name, builder in builders
        for split in ("train", "validation", "test")
        if split in builder.info.splits and not (split == "test" and name.startswith(UNLABELLED_TEST))
    ]
    size = sum(builder.info.splits[split].num_bytes for builder, split in labelled)
    classification_tfds.check_memory(names, size, "a folder with COCO's annotations")
    examples, train, test, encoded = [], [], [], {"image": tfds.decode.SkipDecoding()}
    for builder, split in labelled:
        if split != "test" or not test:
            first = len(examples)
            examples += classification_tfds.stream(tfds, builder, split, encoded).as_numpy_iterator()
            (test if split == "test" else train).extend(range(first, len(examples)))
    sizes, truths, ids = zip(*(read_example(i, example) for i, example in enumerate(examples)), strict=True)
    whole, notes = clipped_dataset(Encoded(tuple(e["image"] for e in examples)), sizes, truths, ids)
    origin = f"TFDS {', '.join(builder.info.full_name for _, builder in builders)}"
    given = {"train": train, "test": test} if test else {"all": train}
    return cut_splits(names, classes, whole, given, origin, notes)


def read_example(index: int, example: dict) -> tuple:
    """((height, width), (boxes, classes, ignore flags), id) of an example; TFDS has y1, x1, y2, x2 from 0 to 1."""
    from PIL import Image

    with Image.open(io.BytesIO(example["image"])) as image:  # reads the header alone
        width, height = image.size
    objects = example["objects"]
    top, left, bottom, right = np.reshape(objects["bbox"], (-1, 4)).T
    boxes = np.stack([left * width, top * height, right * width, bottom * height], axis=1)
    ignore = objects.get("is_difficult", objects.get("is_crowd", np.zeros(len(boxes), bool)))
    name = example.get("image/filename", index)
    name = name.decode() if isinstance(name, bytes) else name
    key = int(example["image/id"]) if "image/id" in example else name
    return (height, width), (boxes, objects["label"], ignore), key
