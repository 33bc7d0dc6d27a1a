"""Loads the detection data that `--data` names."""

from pathlib import Path

from training.data.sources import looks_like_path
from training.detection import coco, digit_scenes, tfds, voc
from training.detection.dataset import DetectionData
from training.errors import DataError


def load(spec: str, images: Path | str | None = None, *, data_dir: str | None = None) -> DetectionData:
    """The data that `spec` names.

    `spec` is, in this order: a path (a JSON file or folder in COCO's format, a folder in VOC's), the word
    `digit_scenes`, or names of TFDS data sets joined by a plus sign (`voc/2007+voc/2012`).

    Args:
        images: folder of the images of a JSON file.
        data_dir: folder of TensorFlow data sets; None is TFDS' default.

    Raises:
        DataError: no data of that name, or data that cannot be used.
    """
    path = Path(spec).expanduser()
    if spec and path.exists():
        if path.is_dir() and voc.is_voc(path):
            return voc.load(path)
        if path.suffix == ".json" or path.is_dir():
            return coco.load(path, images and Path(images))
        raise DataError(f"{path}: annotations must be COCO's JSON files or VOC's folders of XML files")
    if images is not None:
        raise DataError(f"--images needs a JSON file in COCO's format, got --data {spec}")
    if spec == "digit_scenes":
        return digit_scenes.load()
    if spec.endswith((".json", ".xml")) or any(looks_like_path(name) for name in spec.split("+")):
        raise DataError(
            f"no file or folder {spec!r}; --data takes digit_scenes, a JSON file, a folder in VOC's or COCO's "
            "format, or TFDS names such as voc/2007+voc/2012"
        )
    return tfds.load(spec, data_dir=data_dir)
