"""Runs a detector on a split or on single images, on one device."""

from collections.abc import Iterator

import keras
import numpy as np

from training.detection import metrics
from training.detection.dataset import BoxDataset
from training.detection.metrics import Detections
from training.detection.pipeline import ResizeRule, eval_batches

BATCH = 8


def forward(model: keras.Model):
    """images -> detections in inference mode, compiled once for each batch shape."""
    import tensorflow as tf

    return tf.function(lambda images: model(images, training=False), autograph=False)


def detections(run, split: BoxDataset, resize: ResizeRule, preprocess, batch: int = BATCH) -> list[Detections]:
    """The detections of a function of `forward` on each image of a split, in pixels of the stored images."""
    found: list = [None] * len(split)
    for indices, images in eval_batches(split, resize=resize, batch=batch, preprocess=preprocess):
        for index, one in zip(indices, split_batch(run(images)), strict=True):
            found[index] = undo_resize(one, split.sizes[index], resize)
    return found


def split_batch(outputs: dict) -> Iterator[Detections]:
    """The detections of each image of a batch, without the padding."""
    boxes, scores, classes, counts = (np.asarray(outputs[k]) for k in ("boxes", "scores", "classes", "count"))
    for i, count in enumerate(counts):
        yield Detections(boxes[i, :count], scores[i, :count], classes[i, :count])


def undo_resize(found: Detections, size, resize: ResizeRule) -> Detections:
    """Detections on a resized image, in pixels of the stored image of (height, width) `size`."""
    size = np.asarray(size, np.float64)
    grown = np.maximum(np.rint(size * resize.scale(*size)), 1) / size
    boxes = found.boxes / np.tile(grown[::-1], 2)
    limit = np.tile(size[::-1], 2)
    return Detections(np.clip(boxes, 0, limit).astype(np.float32), found.scores, found.classes)


def measure(run, split: BoxDataset, resize: ResizeRule, preprocess, classes: int) -> dict:
    """The figures of `metrics.measure` on a split."""
    return metrics.measure(detections(run, split, resize, preprocess), split, classes)
