"""Annotations in COCO's form: one JSON file for many images, and a folder of these."""

import json
from dataclasses import replace
from pathlib import Path

from training.detection.annotations import assemble, check_file
from training.detection.dataset import DetectionData
from training.detection.metrics import Detections
from training.errors import DataError

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def load(path: Path, images: Path | None = None) -> DetectionData:
    """The scenes of a JSON file, or of a folder with one a split (`annotations/instances_train2017.json`, ...).

    Args:
        images: folder of the images; by default where the JSON file lies, or `train2017/` beside `annotations/`.

    Raises:
        DataError: a file that is not of this form, a category or an image that is not in its lists or missing.
    """
    files = {"all": check_file(path, "file of annotations")} if not path.is_dir() else split_files(path)
    every, splits, categories = [], {}, None
    for split, file in files.items():
        names, found = read(file, folder_of(file, path, images))
        if categories not in (None, names):
            raise DataError(f"{file}: its categories are not those of the other files")
        categories = names
        splits[split] = list(range(len(every), len(every) + len(found)))
        every += found
    numbers, classes = zip(*categories, strict=True)
    scenes = assemble(path.stem, classes, every, splits, f"COCO annotations of {path}")
    return replace(scenes, categories=numbers)


def split_files(folder: Path) -> dict[str, Path]:
    """Split -> JSON file of a folder."""
    found = {}
    for path in sorted([*folder.glob("annotations/instances_*.json"), *folder.glob("*.json")]):
        word = "".join(c for c in path.stem.removeprefix("instances_") if not c.isdigit())
        if word in PARTS:
            found[PARTS[word]] = path
    if "train" not in found or len(found) < 2:
        raise DataError(
            f"{folder}: instances_train*.json and instances_val*.json are needed; give one file otherwise"
        )
    return found


def folder_of(file: Path, given: Path, images: Path | None) -> Path:
    """Where the images of a JSON file lie."""
    own = file.parent.parent / file.stem.removeprefix("instances_")
    if images is not None:
        inside = images / file.stem.removeprefix("instances_")
        return inside if given.is_dir() and inside.is_dir() else images
    return own if given.is_dir() and own.is_dir() else file.parent


def read(file: Path, folder: Path):
    """(((number, name) of each category), [(path, id, (boxes, classes, crowds))]) of one JSON file."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        categories = sorted((int(c["id"]), str(c["name"])) for c in data["categories"])
        numbers = {key: i for i, (key, _) in enumerate(categories)}
        images = {int(i["id"]): str(i["file_name"]) for i in data["images"]}
        truths = {key: ([], [], []) for key in images}
        for note in data["annotations"]:
            for what, known in (("image", images), ("category", numbers)):
                if int(note[f"{what}_id"]) not in known:
                    rule = f"is of {what} {note[f'{what}_id']}, which is not listed"
                    raise DataError(f"{file}: annotation {note.get('id')} {rule}")
            x, y, width, height = map(float, note["bbox"])
            boxes, kinds, crowds = truths[int(note["image_id"])]
            boxes.append((x, y, x + width, y + height))
            kinds.append(numbers[int(note["category_id"])])
            crowds.append(bool(note.get("iscrowd", 0)))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: not annotations of COCO's form ({type(error).__name__}: {error})") from None
    found = []
    for key, name in images.items():
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise DataError(f"{file}: the image {name!r} lies outside {folder}")
        found.append((str(check_file(path, f"image of {file.name},")), key, truths[key]))
    for what, listed in (("images", found), ("categories", categories)):
        if not listed:
            raise DataError(f"{file}: no {what} are listed")
    return tuple(categories), found


def category_numbers(classes: tuple[str, ...], categories: tuple[int, ...]) -> dict[str, int]:
    """Class -> `category_id`: as the annotations have it, or counted from 1 where they have none."""
    return dict(zip(classes, categories or range(1, len(classes) + 1), strict=True))


def result_rows(found: Detections, image, classes: tuple[str, ...], numbers: dict[str, int]) -> list[dict]:
    """A dictionary each: `image_id`, `category_id`, `category`, `bbox` (x, y, width, height), `score`."""
    return [
        {
            "image_id": image,
            "category_id": numbers[classes[int(kind)]],
            "category": classes[int(kind)],
            "bbox": [round(float(v), 2) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
            "score": round(float(score), 5),
        }
        for box, score, kind in zip(found.boxes, found.scores, found.classes, strict=True)
    ]
