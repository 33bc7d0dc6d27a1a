"""Object detection sets of TensorFlow Datasets, by name, or several joined by a plus sign."""

import numpy as np

from training.data import tfds as named
from training.data.storage import Encoded, most_bytes
from training.detection.annotations import cut_splits
from training.detection.dataset import BoxDataset, DetectionData, clip_boxes, mending, packed
from training.errors import DataError, some

UNLABELLED_TEST = ("voc/2012", "coco/2014", "coco/2017")
NEEDED = {"bbox", "label"}


def load(names: str, *, data_dir: str | None = None) -> DetectionData:
    """The scenes of `voc/2007`, or of a union such as `voc/2007+voc/2012`.

    Training is on all that is labelled but the test split, as detectors are compared; a twentieth of it is held
    out as val. A union is tested on the first of its sets that has a labelled test split.

    Raises:
        DataError: unknown name, no boxes, no network, too large, or sets of different classes.
    """
    import tensorflow  # noqa: F401 (without it TFDS loads, and does nothing)
    import tensorflow_datasets as tfds

    builders = []
    with named.quiet(tfds):
        for name in names.split("+"):
            builder = named.find(tfds, name, data_dir)
            check_features(tfds, name, builder.info.features)
            named.prepare(name, builder)
            builders.append((name, builder))
        classes = tuple(builders[0][1].info.features["objects"]["label"].names)
        for name, builder in builders[1:]:
            if tuple(builder.info.features["objects"]["label"].names) != classes:
                raise DataError(f"{names}: sets of a union have the same classes; those of {name} are others")
        return read(tfds, names, builders, classes)


def check_features(tfds, name: str, features) -> None:
    """Raises DataError unless there are 8-bit colour images with boxes and classes."""
    names = sorted(features) if hasattr(features, "keys") else []
    inner = getattr(features["objects"], "feature", None) if "objects" in names else None
    have = set(inner) if hasattr(inner, "keys") else set()
    if "image" not in names or not have >= NEEDED:
        raise DataError(
            f"data set {name!r}: the features image and objects with bbox and label are needed; it has "
            f"{some(names)}"
        )


def read(tfds, names: str, builders, classes: tuple[str, ...]) -> DetectionData:
    """All splits in memory, images encoded."""
    size = sum(b.info.splits[s].num_bytes for n, b in builders for s in labelled(n, b))
    if size > most_bytes():
        raise DataError(
            f"data set {names!r}: its images fill {size / 2**30:.1f} GiB, more than a third of the memory: write "
            "them as a folder with COCO's annotations and give that path"
        )
    examples, given = [], {"train": [], "test": []}
    for name, builder in builders:
        for split in labelled(name, builder):
            some_of = list(stream(tfds, builder, split))
            part = "test" if split == "test" else "train"
            if part == "train" or not given["test"]:
                given[part] += range(len(examples), len(examples) + len(some_of))
                examples += some_of
    given = {k: v for k, v in given.items() if v}
    if "test" not in given:
        given = {"all": given["train"]}
    parts, how = cut_splits(given)
    whole, notes = boxed(examples)
    origin = f"TFDS {', '.join(b.info.full_name for _, b in builders)}; {how}"
    splits = {name: whole.take(rows) for name, rows in parts.items()}
    return DetectionData(names, classes, **splits, mirror=True, origin=origin, notes=notes)


def labelled(name: str, builder) -> list[str]:
    """The splits with boxes."""
    have = [s for s in ("train", "validation", "test") if s in builder.info.splits]
    return [s for s in have if s != "test" or not name.startswith(UNLABELLED_TEST)]


def stream(tfds, builder, split: str):
    """Examples of a split as NumPy: encoded images, boxes from 0 to 1 as top, left, bottom, right."""
    yield from named.stream(tfds, builder, split, {"image": tfds.decode.SkipDecoding()}).as_numpy_iterator()


def boxed(examples: list[dict]) -> tuple[BoxDataset, tuple[str, ...]]:
    """Examples as one `BoxDataset`."""
    sizes, truths, ids, cut, gone = [], [], [], 0, 0
    for i, example in enumerate(examples):
        objects = example["objects"]
        size = extent(example["image"])
        top, left, bottom, right = np.reshape(objects["bbox"], (-1, 4)).T
        boxes = np.stack([left * size[1], top * size[0], right * size[1], bottom * size[0]], axis=1)
        doubts = objects.get("is_difficult", objects.get("is_crowd", np.zeros(len(boxes), bool)))
        kept, one, other = clip_boxes(boxes, objects["label"], doubts, size)
        sizes.append(size)
        truths.append(kept)
        ids.append(int(example["image/id"]) if "image/id" in example else _word(example.get("image/filename", i)))
        cut, gone = cut + one, gone + other
    images = Encoded(tuple(e["image"] for e in examples))
    return BoxDataset(images, np.array(sizes, np.int32), *packed(truths), tuple(ids)), mending(cut, gone)


def extent(encoded: bytes) -> tuple[int, int]:
    """Height and width, from the header alone."""
    import io

    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        return image.height, image.width


def _word(name):
    return name.decode() if isinstance(name, bytes) else name
