"""The PASCAL VOC reader: one XML file per image.

It reads a folder of the development kit (`Annotations/`, `JPEGImages/`, `ImageSets/Main/`), or any folder with
images and their XML files side by side.
"""

from pathlib import Path

from defusedxml import DefusedXmlException, ElementTree

from keras_cnns.errors import unknown
from training.data.folder import SUFFIXES
from training.detection.annotations import assemble
from training.detection.dataset import DetectionData
from training.errors import DataError

MAX_BYTES = 2**24  # of an XML file


def is_voc(folder: Path) -> bool:
    """Whether a folder holds annotations in this format."""
    return any((folder / "Annotations").glob("*.xml")) or any(folder.glob("*.xml"))


def load(folder: Path) -> DetectionData:
    """The data of a folder.

    The classes are the lines of `labels.txt` if it exists, else all names that occur, sorted.

    Raises:
        DataError: a file that is not an annotation, a class that is not in `labels.txt`, a missing image.
    """
    where = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    found = [read_annotation(path, folder) for path in sorted(where.glob("*.xml"))]
    names = sorted({name for _, _, objects in found for _, name, _ in objects})
    if (folder / "labels.txt").is_file():
        listed = (folder / "labels.txt").read_text(encoding="utf-8").split("\n")
        classes = tuple(line.strip() for line in listed if line.strip())
        foreign = [name for name in names if name not in classes]
        if foreign:
            raise DataError(f"{folder}: {unknown('class', foreign[0], classes)}")
    else:
        classes = tuple(names)
    if not classes:
        raise DataError(f"{folder}: none of {len(found)} XML files has an object")
    images = []
    for path, key, objects in found:
        boxes, names, difficult = zip(*objects, strict=True) if objects else ((), (), ())
        images.append((path, key, (boxes, [classes.index(name) for name in names], difficult)))
    return assemble(folder.name, classes, images, read_splits(folder, images), f"VOC annotations of {folder}")


def read_annotation(path: Path, folder: Path):
    """(path of the image, its name without suffix, [(box, class, difficult)]) of one XML file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: an annotation must have at most {MAX_BYTES:,} bytes")
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
    # VOC counts pixels from 1 and includes the last one; here pixel 1 is from 0 to 1.
    return (x1 - 1, y1 - 1, x2, y2), name, (node.findtext("difficult") or "0").strip() == "1"


def _image(path: Path, folder: Path, name: str) -> Path:
    folders = [folder / "JPEGImages", path.parent, folder]
    names = [*([Path(name).name] if name else []), *(path.stem + suffix for suffix in SUFFIXES)]
    for candidate in (place / name for place in folders for name in names):
        if candidate.is_file():
            return candidate
    raise DataError(f"{path}: its image {names[0]!r} is neither in {folders[0]} nor beside it")


def read_splits(folder: Path, images: list) -> dict[str, list[int]]:
    """Split name -> indices of its images, by the kit's lists, or {"all": all}."""
    numbers = {key: i for i, (_, key, _) in enumerate(images)}
    lists = {name: folder / "ImageSets" / "Main" / f"{name}.txt" for name in ("train", "val", "test", "trainval")}
    found = {
        name: [
            numbers[words[0]]
            for line in path.read_text(encoding="utf-8").splitlines()
            if (words := line.split()) and words[0] in numbers
        ]
        for name, path in lists.items()
        if path.is_file()
    }
    if "test" in found and ("trainval" in found or {"train", "val"} <= set(found)):
        both = found.get("trainval") or [*found["train"], *found["val"]]
        return {"train": both, "test": found["test"]}  # published detectors are trained on both
    found.pop("trainval", None)
    return found if "train" in found and len(found) > 1 else {"all": list(range(len(images)))}
