"""The COCO reader: annotations in one JSON file, or in a folder of JSON files; and results in COCO's format."""

import json
from dataclasses import replace
from pathlib import Path

from training.data.folder import SPLIT_NAMES
from training.detection.annotations import assemble
from training.detection.dataset import DetectionData
from training.detection.metrics import Detections
from training.errors import DataError


def load(path: Path, images: Path | None = None) -> DetectionData:
    """The data of a JSON file, or of a folder with one per split (`annotations/instances_train2017.json`, ...).

    Args:
        images: folder of the images; default: the folder of the JSON file, or `train2017/` beside `annotations/`.

    Raises:
        DataError: not COCO's format, a category or image that the file does not list, or a missing image.
    """
    files = {"all": check_file(path, "file of annotations")} if not path.is_dir() else split_files(path)
    every, splits, categories = [], {}, None
    for split, file in files.items():
        own, found = read(file, image_folder(file, path, images))
        if categories not in (None, own):
            raise DataError(f"{file}: its categories are not those of the other files")
        categories = own
        splits[split] = list(range(len(every), len(every) + len(found)))
        every += found
    ids, classes = zip(*categories, strict=True)
    data = assemble(path.stem, classes, every, splits, f"COCO annotations of {path}")
    return replace(data, categories=ids)


def split_files(folder: Path) -> dict[str, Path]:
    """Split name -> JSON file of a folder."""
    found = {}
    for path in sorted([*folder.glob("annotations/instances_*.json"), *folder.glob("*.json")]):
        word = "".join(c for c in path.stem.removeprefix("instances_") if not c.isdigit())
        if word in SPLIT_NAMES:
            found[SPLIT_NAMES[word]] = path
    if "train" not in found or len(found) < 2:
        rule = "must have instances_train*.json and instances_val*.json"
        raise DataError(f"{folder}: {rule}; otherwise give one JSON file")
    return found


def image_folder(file: Path, given: Path, images: Path | None) -> Path:
    """The folder of the images of a JSON file."""
    own = (images or file.parent.parent) / file.stem.removeprefix("instances_")
    return own if given.is_dir() and own.is_dir() else images or file.parent


def read(file: Path, folder: Path):
    """(((id, name) of each category), [(path, id, (boxes, classes, crowd flags))]) of one JSON file."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        categories = sorted((int(c["id"]), str(c["name"])) for c in data["categories"])
        labels = {key: i for i, (key, _) in enumerate(categories)}
        images = {int(i["id"]): str(i["file_name"]) for i in data["images"]}
        truths = {key: ([], [], []) for key in images}
        for note in data["annotations"]:
            for what, known in (("image", images), ("category", labels)):
                if int(note[f"{what}_id"]) not in known:
                    fault = f"has {what}_id {note[f'{what}_id']}, which the file does not list"
                    raise DataError(f"{file}: annotation {note.get('id')} {fault}")
            x, y, width, height = map(float, note["bbox"])
            boxes, classes, crowds = truths[int(note["image_id"])]
            boxes.append((x, y, x + width, y + height))
            classes.append(labels[int(note["category_id"])])
            crowds.append(bool(note.get("iscrowd", 0)))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: not annotations in COCO's format ({type(error).__name__}: {error})") from None
    found = []
    for key, name in images.items():
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise DataError(f"{file}: the image {name!r} lies outside {folder}")
        found.append((str(check_file(path, f"image of {file.name},")), key, truths[key]))
    for what, listed in (("images", found), ("categories", categories)):
        if not listed:
            raise DataError(f"{file}: lists no {what}")
    return tuple(categories), found


def check_file(path: Path, what: str) -> Path:
    """The path. Raises DataError if no such file exists."""
    if not path.is_file():
        raise DataError(f"no {what} {str(path)!r}")
    return path


def category_ids(classes: tuple[str, ...], categories: tuple[int, ...]) -> dict[str, int]:
    """Class -> `category_id`: that of the annotations, or counted from 1 if they have none."""
    return dict(zip(classes, categories or range(1, len(classes) + 1), strict=True))


def result_rows(found: Detections, image, classes: tuple[str, ...], ids: dict[str, int]) -> list[dict]:
    """Dictionaries of `image_id`, `category_id`, `category`, `bbox` (x, y, width, height) and `score`."""
    return [
        {
            "image_id": image,
            "category_id": ids[classes[int(label)]],
            "category": classes[int(label)],
            "bbox": [round(float(v), 2) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
            "score": round(float(score), 5),
        }
        for box, score, label in zip(found.boxes, found.scores, found.classes, strict=True)
    ]
