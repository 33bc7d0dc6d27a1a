"""Detectors to measure and to use: from a run folder."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_cnns.deep import deep_recursion
from keras_cnns.detection.weights import load
from keras_cnns.preprocessing import Preprocessing
from training.classification.trained import check_hash
from training.detection import scoring
from training.detection.config import DetectionConfig
from training.detection.dataset import BoxDataset
from training.detection.metrics import Detections
from training.detection.pipeline import ResizeRule, pad_image, resize_image
from training.errors import DataError


@dataclass(frozen=True)
class Detector:
    """A trained network with what it needs to see images and name classes.

    Attributes:
        name: for people.
        model: images of its canvas -> detections.
        data, images: what it was trained on, as given.
        canvas: shape of the images that the model takes.
        categories: numbers of the classes in its annotations, if they had any.
    """

    name: str
    model: keras.Model
    classes: tuple[str, ...]
    fit: ResizeRule
    preprocessing: Preprocessing
    data: str
    canvas: tuple
    images: Path | None = None
    categories: tuple[int, ...] = ()

    def find(self, run, image: np.ndarray) -> Detections:
        """What `scoring.forward(model)` finds on a uint8 image (h, w, 3), in its own pixels."""
        high = image.shape[0] > image.shape[1]
        seen = pad_image(self.preprocessing(resize_image(image, self.fit)[0]), self.fit, high)[None]
        return scoring.undo_resize(next(scoring.split_batch(run(seen))), image.shape[:2], self.fit)

    def in_order(self, classes: tuple[str, ...], split: BoxDataset) -> BoxDataset:
        """A split of data with other classes, in the order of the network's.

        Raises:
            DataError: the data have a class that the network does not know.
        """
        if classes == self.classes:
            return split
        odd = [c for c in classes if c not in self.classes]
        if odd:
            raise DataError(f"{self.name} does not know the class {odd[0]!r} (it knows {', '.join(self.classes)})")
        places = np.array([self.classes.index(c) for c in classes] + [-1], np.int32)  # the last is for none
        return BoxDataset(split.images, split.sizes, split.boxes, places[split.labels], split.ignore, split.ids)


def from_run(folder: Path) -> Detector:
    """The detector of a finished run.

    Raises:
        ValueError: no run of a detector there, not finished, or its files do not belong together.
    """
    config = DetectionConfig.read(folder)
    path = Path(folder) / "model.keras"
    if not path.is_file():
        raise ValueError(f"the run in {str(folder)!r} is not finished: it has no model.keras (repeat its command)")
    with deep_recursion():
        model = config.build().inference
    load(model, config.detector, path)
    check_hash(model, folder)
    return Detector(
        f"{config.detector.name} ({folder})",
        model,
        config.classes,
        config.recipe.resize,
        config.detector.backbone.preprocessing,
        config.data,
        config.canvas,
        config.images and Path(config.images),
        config.categories,
    )
