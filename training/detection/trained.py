"""Trained detectors: loaded from a run folder, run on whole splits and on single images, on one device."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from keras_cnns.deep import deep_recursion
from keras_cnns.detection.weights import load
from keras_cnns.preprocessing import Preprocessing
from training.classification.trained import check_hash
from training.detection.config import DetectionConfig
from training.detection.dataset import BoxDataset
from training.detection.metrics import Detections
from training.detection.pipeline import ResizeRule, eval_batches, fit_to_canvas
from training.errors import DataError


def forward(model: keras.Model):
    """images -> detections in inference mode, compiled once for each batch shape."""
    import tensorflow as tf

    return tf.function(lambda images: model(images, training=False), autograph=False)


def detect_split(run, split: BoxDataset, config: DetectionConfig) -> list[Detections]:
    """The detections of a function of `forward` on each image of a split, in pixels of the stored images."""
    found = {}
    for indices, images in eval_batches(split, config.recipe.resize, config.preprocessing):
        stored = undo_resize(run(images), split.sizes[indices], config.recipe.resize)
        found.update(zip(indices, stored, strict=True))
    return [found[index] for index in range(len(split))]


def undo_resize(outputs: dict, sizes, resize: ResizeRule) -> Iterator[Detections]:
    """The detections of each image of a batch, in pixels of the stored images of (height, width) `sizes`."""
    boxes, scores, classes, counts = (np.asarray(outputs[k]) for k in ("boxes", "scores", "classes", "count"))
    for i, (count, size) in enumerate(zip(counts, np.asarray(sizes, np.float64), strict=True)):
        grown = np.maximum(np.rint(size * resize.scale(*size)), 1) / size
        stored = np.clip(boxes[i, :count] / np.tile(grown[::-1], 2), 0, np.tile(size[::-1], 2))
        yield Detections(stored.astype(np.float32), scores[i, :count], classes[i, :count])


@dataclass(frozen=True)
class Detector:
    """A trained network, images of the canvas of `config` -> detections, with the configuration of its run.

    `name` has the run's folder, for messages.
    """

    name: str
    model: keras.Model
    config: DetectionConfig

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the outputs."""
        return self.config.classes

    @property
    def preprocessing(self) -> Preprocessing:
        """From 0-255 pixels to what the model takes."""
        return self.config.preprocessing

    def find(self, run, image: np.ndarray) -> Detections:
        """The detections of a function of `forward` on a uint8 image (h, w, 3), in its own pixels."""
        seen = fit_to_canvas(image, self.config.recipe.resize, self.preprocessing)[None]
        return next(undo_resize(run(seen), [image.shape[:2]], self.config.recipe.resize))

    def in_order(self, classes: tuple[str, ...], split: BoxDataset) -> BoxDataset:
        """A split of data with other classes, in the order of the network's.

        Raises:
            DataError: the data have a class that the network does not know.
        """
        odd = [c for c in classes if c not in self.classes]
        if odd:
            raise DataError(f"{self.name} does not know the class {odd[0]!r} (it knows {', '.join(self.classes)})")
        places = np.array([self.classes.index(c) for c in classes] + [-1], np.int32)  # the last is for none
        return replace(split, labels=places[split.labels])


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
    return Detector(f"{config.detector.name} ({folder})", model, config)
