"""Annotations in PASCAL VOC's form: one XML file an image.

A folder as the development kit has it (`Annotations/`, `JPEGImages/`, `ImageSets/Main/`), or any with images
and their XML files side by side.
"""

from pathlib import Path

from defusedxml import DefusedXmlException, ElementTree

from keras_cnns.errors import unknown
from training.data.folder import SUFFIXES
from training.detection.annotations import assemble
from training.detection.dataset import DetectionData
from training.errors import DataError

MOST_BYTES = 2**24  # of an XML file


def is_voc(folder: Path) -> bool:
    """Whether a folder holds annotations of this form."""
    return any((folder / "Annotations").glob("*.xml")) or any(folder.glob("*.xml"))


def load(folder: Path) -> DetectionData:
    """The scenes of a folder.

    Classes are the names in `labels.txt`, a line each, if there is one, else all that occur, sorted.

    Raises:
        DataError: a file that is no annotation, a class that `labels.txt` does not know, an image that is missing.
    """
    where = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    found = [annotation(path, folder) for path in sorted(where.glob("*.xml"))]
    names = sorted({name for _, _, objects in found for _, name, _ in objects})
    if (folder / "labels.txt").is_file():
        listed = (folder / "labels.txt").read_text(encoding="utf-8").split("\n")
        classes = tuple(line.strip() for line in listed if line.strip())
        odd = [name for name in names if name not in classes]
        if odd:
            raise DataError(f"{folder}: {unknown('class', odd[0], classes)}")
    else:
        classes = tuple(names)
    if not classes:
        raise DataError(f"{folder}: none of {len(found)} XML files names an object")
    images = [
        (
            path,
            key,
            ([b for b, _, _ in objects], [classes.index(n) for _, n, _ in objects], [d for *_, d in objects]),
        )
        for path, key, objects in found
    ]
    return assemble(folder.name, classes, images, splits(folder, images), f"VOC annotations of {folder}")


def annotation(path: Path, folder: Path):
    """(image's path, its name without suffix, [(box, class, difficult)]) of one XML file."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: an annotation has at most {MOST_BYTES:,} bytes")
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"), forbid_dtd=True)
        objects = [_object(node) for node in root.iter("object")]
        name = (root.findtext("filename") or "").strip()
    except DefusedXmlException as error:  # entities can grow without bound
        raise DataError(f"{path}: an annotation must have no document type and no entities, got {error}") from None
    except (ElementTree.ParseError, UnicodeDecodeError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a VOC annotation ({error})") from None
    return str(_image(path, folder, name)), path.stem, objects


def _object(node):
    box = node.find("bndbox")
    x1, y1, x2, y2 = (float(box.findtext(side)) for side in ("xmin", "ymin", "xmax", "ymax"))
    name = (node.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object without a name")
    # Pixels count from 1 there and the last is inside: pixel 1 is from 0 to 1 here.
    return (x1 - 1, y1 - 1, x2, y2), name, (node.findtext("difficult") or "0").strip() == "1"


def _image(path: Path, folder: Path, name: str) -> Path:
    places = [folder / "JPEGImages", path.parent, folder]
    names = [*([Path(name).name] if name else []), *(path.stem + suffix for suffix in SUFFIXES)]
    for place in places:
        for one in names:
            if (place / one).is_file():
                return place / one
    raise DataError(f"{path}: its image {names[0]!r} is neither in {places[0]} nor beside it")


def splits(folder: Path, images: list) -> dict[str, list[int]]:
    """Which images are of which split, by the lists of the kit, or {"all": all}."""
    numbers = {key: i for i, (_, key, _) in enumerate(images)}
    lists = {name: folder / "ImageSets" / "Main" / f"{name}.txt" for name in ("train", "val", "test", "trainval")}
    found = {
        name: [numbers[key] for key in _first_words(path) if key in numbers]
        for name, path in lists.items()
        if path.is_file()
    }
    if "test" in found and ("trainval" in found or {"train", "val"} <= set(found)):
        both = found.get("trainval") or [*found["train"], *found["val"]]
        return {"train": both, "test": found["test"]}  # as detectors are compared: trained on both
    found.pop("trainval", None)
    return found if "train" in found and len(found) > 1 else {"all": list(range(len(images)))}


def _first_words(path: Path) -> list[str]:
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
