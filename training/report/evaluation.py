"""Figures of networks: confusion matrix and scores, from arrays; mean and spread over runs."""

from statistics import fmean, stdev

import numpy as np


def spread(values: list[float]) -> float:
    """Standard deviation over runs; 0 of a single one."""
    return stdev(values) if len(values) > 1 else 0.0


def mean_std(values: list[float], digits: int = 2) -> str:
    """Mean and standard deviation as text.

    >>> mean_std([1.0, 2.0]), mean_std([3.0])
    ('1.50 +- 0.71', '3.00')
    """
    text = f"{fmean(values):.{digits}f}"
    return f"{text} +- {spread(values):.{digits}f}" if len(values) > 1 else text


def confusion(labels, predictions, classes: int) -> np.ndarray:
    """Counts of true class i (row) predicted as class j (column), int64; of class numbers (n,), n >= 1."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(labels, predictions, labels=np.arange(classes))


def scores(outputs, labels, losses) -> dict:
    """Mean loss and accuracies as fractions: `{"loss", "top1", "top5", "n"}`, Python numbers.

    With fewer than five classes, `top5` is top-k of all. Equal outputs rank by class number, as in arg-max: `top1`
    is the fraction on the diagonal of `confusion`. A row with a NaN counts as wrong.

    Args:
        outputs: logits or probabilities, shape (n, classes).
        labels: class numbers, shape (n,).
        losses: one loss an image, shape (n,).

    Raises:
        ValueError: no images, or shapes that do not fit together.
    """
    outputs, losses = np.asarray(outputs), np.asarray(losses)
    if outputs.ndim != 2 or not len(outputs):
        raise ValueError(f"outputs must have the shape (n, classes), n >= 1, got {outputs.shape}")
    labels = np.asarray(labels, np.int64)
    if not len(labels) == len(outputs) == len(losses) or losses.ndim != 1:
        raise ValueError(
            f"{len(outputs)} outputs need as many labels and losses, got {len(labels)} and {losses.shape}"
        )
    mine = np.take_along_axis(outputs, labels[:, None], axis=1)
    earlier = np.arange(outputs.shape[1]) < labels[:, None]
    ranks = np.sum((outputs > mine) | ((outputs == mine) & earlier), axis=1)  # of the true class, from 0
    # NaN compares false with everything and would win.
    ranks = np.where(np.isnan(outputs).any(axis=1), outputs.shape[1], ranks)
    return {
        "loss": float(np.mean(losses, dtype=np.float64)),
        "top1": float(np.mean(ranks < 1)),
        "top5": float(np.mean(ranks < min(5, outputs.shape[1]))),
        "n": len(labels),
    }
