"""Detections of whole splits and of single images, on one device."""

from collections.abc import Iterator

import keras
import numpy as np

from training.detection import metrics
from training.detection.dataset import BoxDataset
from training.detection.metrics import Detections
from training.detection.pipeline import Fit, measuring_batches

BATCH = 8


def forward(model: keras.Model):
    """images -> detections in inference mode, a graph for every shape of a batch."""
    import tensorflow as tf

    return tf.function(lambda images: model(images, training=False), autograph=False)


def detections(run, split: BoxDataset, fit: Fit, preprocess, batch: int = BATCH) -> list[Detections]:
    """What a function of `forward` finds on a split, image by image, in pixels of the stored images."""
    found: list = [None] * len(split)
    for rows, images in measuring_batches(split, fit=fit, batch=batch, preprocess=preprocess):
        for index, one in zip(rows, each(run(images)), strict=True):
            found[index] = scaled(one, split.sizes[index], fit)
    return found


def each(answers: dict) -> Iterator[Detections]:
    """The detections of a batch, image by image, without what is beyond the count."""
    boxes, scores, classes, counts = (np.asarray(answers[k]) for k in ("boxes", "scores", "classes", "count"))
    for i, count in enumerate(counts):
        yield Detections(boxes[i, :count], scores[i, :count], classes[i, :count])


def scaled(found: Detections, size, fit: Fit) -> Detections:
    """Detections on an image as it was fitted, in pixels of the image itself."""
    size = np.asarray(size, np.float64)
    grown = np.maximum(np.rint(size * fit.scale(*size)), 1) / size
    boxes = found.boxes / np.tile(grown[::-1], 2)
    limit = np.tile(size[::-1], 2)
    return Detections(np.clip(boxes, 0, limit).astype(np.float32), found.scores, found.classes)


def measure(run, split: BoxDataset, fit: Fit, preprocess, classes: int) -> dict:
    """The figures of `metrics.measure` on a split."""
    return metrics.measure(detections(run, split, fit, preprocess), split, classes)
