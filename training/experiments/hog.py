"""Classical baseline: histograms of oriented gradients (Dalal & Triggs 2005) and a linear SVM."""

import numpy as np

from keras_cnns.preprocessing import UNIT
from training.data import pipeline
from training.data.dataset import DataSet, Split

CELL, BINS, BLOCK = 4, 9, 2  # pixels, directions, cells
SIDE = 28  # pixels that images are resized to
PENALTIES = (0.01, 0.1, 1.0)
TINY = 1e-6


def hog(images: np.ndarray) -> np.ndarray:
    """Features (n, blocks * 36) of grey images (n, h, w), any scale; h and w are multiples of four.

    Gradients by central differences; in each cell of 4x4 pixels a histogram of nine unsigned directions, in which
    each pixel adds the length of its gradient to the two nearest; overlapping blocks of 2x2 cells, normalised,
    limited to 0.2 and normalised again (L2-Hys).
    """
    images = np.asarray(images, "float32")
    n, height, width = images.shape
    dy, dx = np.zeros_like(images), np.zeros_like(images)
    dy[:, 1:-1] = images[:, 2:] - images[:, :-2]
    dx[:, :, 1:-1] = images[:, :, 2:] - images[:, :, :-2]
    length = np.hypot(dx, dy)
    place = (np.arctan2(dy, dx) % np.pi) / np.pi * BINS - 0.5
    low = np.floor(place)
    weight = place - low
    rows, columns = height // CELL, width // CELL
    cells = np.zeros((n, rows, columns, BINS), "float32")
    for b in range(BINS):
        votes = length * ((low % BINS == b) * (1 - weight) + ((low + 1) % BINS == b) * weight)
        cells[..., b] = votes.reshape(n, rows, CELL, columns, CELL).sum((2, 4))
    corners = np.ndindex(BLOCK, BLOCK)
    blocks = [cells[:, i : rows - BLOCK + 1 + i, j : columns - BLOCK + 1 + j] for i, j in corners]
    blocks = np.concatenate(blocks, -1)
    return _unit(np.minimum(_unit(blocks), 0.2)).reshape(n, -1)


def _unit(blocks: np.ndarray) -> np.ndarray:
    return blocks / np.sqrt(np.sum(np.square(blocks), -1, keepdims=True) + TINY)


def features(split: Split) -> np.ndarray:
    """HOG of a whole split, in grey, at 28 pixels a side."""
    batches = pipeline.eval_batches(split, size=SIDE, channels=1, batch_size=512, preprocess=UNIT)
    return np.concatenate([hog(np.asarray(images)[..., 0]) for images, _ in batches])


def baseline(data: DataSet) -> dict:
    """Test error in per cent of a linear SVM on HOG, its penalty chosen on the validation split."""
    from sklearn.svm import LinearSVC

    train, val, test = (features(s) for s in (data.train, data.val, data.test))
    machines = [LinearSVC(C=c, random_state=0).fit(train, data.train.labels) for c in PENALTIES]
    best = max(machines, key=lambda m: m.score(val, data.val.labels))
    error = 100 * (1 - best.score(test, data.test.labels))
    return {"test_error": float(error), "n": len(data.test), "features": train.shape[1], "penalty": best.C}
