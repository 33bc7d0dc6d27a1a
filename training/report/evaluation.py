"""What a network got right: confusion matrix and scores, from arrays."""

import numpy as np


def confusion(labels, predictions, classes: int) -> np.ndarray:
    """How often true class i was called class j: int64 (classes, classes).

    Args:
        labels, predictions: class numbers, shape (n,).

    Raises:
        ValueError: different lengths, or a class number outside 0 ... classes - 1.
    """
    labels, predictions = _numbers("labels", labels, classes), _numbers("predictions", predictions, classes)
    if len(labels) != len(predictions):
        raise ValueError(f"one prediction a label; {len(predictions)} came for {len(labels)} labels")
    counts = np.bincount(labels * classes + predictions, minlength=classes**2)
    return counts.astype(np.int64).reshape(classes, classes)


def scores(outputs, labels, losses) -> dict:
    """Mean loss and accuracies as fractions: `{"loss", "top1", "top5", "n"}`, Python numbers.

    `top5` is top-k of fewer than five classes. Equal outputs rank by class number, as in arg-max, so top1 is the
    share of the diagonal in `confusion`. A row with a NaN is wrong.

    Args:
        outputs: logits or probabilities, shape (n, classes).
        labels: class numbers, shape (n,).
        losses: one loss an image, shape (n,).

    Raises:
        ValueError: no images, or shapes that do not belong together.
    """
    outputs, losses = np.asarray(outputs), np.asarray(losses)
    if outputs.ndim != 2 or not len(outputs):
        raise ValueError(f"scores need outputs of shape (n, classes), n >= 1; {outputs.shape} came")
    labels = _numbers("labels", labels, outputs.shape[1])
    if not len(labels) == len(outputs) == len(losses) or losses.ndim != 1:
        raise ValueError(
            f"{len(outputs)} outputs need as many labels and losses; {len(labels)}, {losses.shape} came"
        )
    ranks = _ranks(outputs, labels)
    return {
        "loss": float(np.mean(losses, dtype=np.float64)),
        "top1": float(np.mean(ranks < 1)),
        "top5": float(np.mean(ranks < min(5, outputs.shape[1]))),
        "n": len(labels),
    }


def _ranks(outputs, labels) -> np.ndarray:
    """Place of the true class, from 0, shape (n,)."""
    mine = np.take_along_axis(outputs, labels[:, None], axis=1)
    earlier = np.arange(outputs.shape[1]) < labels[:, None]
    ranks = np.sum((outputs > mine) | ((outputs == mine) & earlier), axis=1)
    # NaN compares false with everything and would win.
    return np.where(np.isnan(outputs).any(axis=1), outputs.shape[1], ranks)


def _numbers(what: str, numbers, classes: int) -> np.ndarray:
    numbers = np.asarray(numbers)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise ValueError(f"{what} are class numbers of shape (n,); {numbers.dtype} {numbers.shape} came")
    numbers = numbers.astype(np.int64)
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < classes:
        raise ValueError(f"{what} run from 0 to {classes - 1}; {numbers.min()} to {numbers.max()} came")
    return numbers
