"""Average precision, as PASCAL VOC (2007 and later) and as COCO count it.

A detection is right if it shares enough with a true box of its class that no better detection has taken. Doubtful
boxes (VOC's difficult, COCO's crowds) count neither for nor against.
"""

from dataclasses import dataclass

import numpy as np

COCO_IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
COCO_MOST = 100  # detections of an image


@dataclass(frozen=True)
class Detections:
    """Detections of one image: boxes (k, 4), scores (k,), classes (k,)."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


def measure(found: list[Detections], split, classes: int) -> dict:
    """All figures of a split: `ap50` (VOC, area under the curve), `ap50_voc07` (11 points), `ap`, `ap75` (COCO).

    Each is the mean over the classes that the split holds, 0 where it holds none; `ap50_coco` is COCO's own at an
    IoU of 0.5, by 101 points; `of_class` holds each class' ap50, None for one that has no box. `n` counts images,
    `boxes` the true ones.
    """
    truths = [split.truth(i) for i in range(len(split))]
    area, eleven, coco = [], [], []
    for kind in range(classes):
        if not any((t[1][~t[2]] == kind).any() for t in truths):
            area.append(None)
            continue
        right, counts, total = judged(found, truths, kind, (0.5,), taken_is_wrong=True)
        curve = precision_recall(right[0], counts[0], total)
        area.append(under(*curve))
        eleven.append(at_points(*curve, np.linspace(0, 1, 11)))
        right, counts, total = judged(found, truths, kind, COCO_IOUS, taken_is_wrong=False)
        points = np.linspace(0, 1, 101)
        coco.append(
            [at_points(*precision_recall(r, c, total), points) for r, c in zip(right, counts, strict=True)]
        )
    every = np.array(coco).mean(axis=0) if coco else np.zeros(len(COCO_IOUS))
    return {
        "ap50": float(np.mean([a for a in area if a is not None] or [0.0])),
        "ap50_voc07": float(np.mean(eleven or [0.0])),
        "ap": float(every.mean()),
        "ap50_coco": float(every[0]),
        "ap75": float(every[COCO_IOUS.index(0.75)]),
        "n": len(split),
        "boxes": int(sum((~t[2]).sum() for t in truths)),
        "of_class": area,
    }


def judged(found, truths, kind: int, thresholds: tuple, taken_is_wrong: bool):
    """Of all detections of a class, best first: which are right, which count, (t, k) each; and the true boxes.

    VOC looks at the true box that a detection shares most with, and calls it wrong if that is taken. COCO gives it
    the best one that is still free, and takes at most 100 of an image.
    """
    scores, right, counts, total = [], [], [], 0
    for one, (boxes, kinds, doubtful) in zip(found, truths, strict=True):
        mine = np.flatnonzero(one.classes == kind)
        mine = mine[np.argsort(-one.scores[mine], kind="stable")]
        if not taken_is_wrong:
            mine = mine[:COCO_MOST]
        there = kinds == kind
        total += int((there & ~doubtful).sum())
        shared = overlaps(one.boxes[mine], boxes[there], doubtful[there] & (not taken_is_wrong))
        ok, counted = (_voc if taken_is_wrong else _coco)(shared, doubtful[there], thresholds)
        scores.append(one.scores[mine])
        right.append(ok)
        counts.append(counted)
    scores, right, counts = np.concatenate(scores), np.concatenate(right, 1), np.concatenate(counts, 1)
    order = np.argsort(-scores, kind="mergesort")
    return right[:, order], counts[:, order], total


def _voc(shared, doubtful, thresholds):
    k = len(shared)
    right, counts = np.zeros((len(thresholds), k), bool), np.ones((len(thresholds), k), bool)
    for t, threshold in enumerate(thresholds):
        taken = np.zeros(len(doubtful), bool)
        for i in range(k):
            j = int(shared[i].argmax()) if len(doubtful) else -1
            if j < 0 or shared[i, j] <= threshold:
                continue
            counts[t, i] = not doubtful[j]
            right[t, i] = not doubtful[j] and not taken[j]
            taken[j] = True
    return right, counts


def _coco(shared, doubtful, thresholds):
    k = len(shared)
    right, counts = np.zeros((len(thresholds), k), bool), np.ones((len(thresholds), k), bool)
    order = np.argsort(doubtful, kind="stable")  # true boxes before crowds, as the reference looks at them
    for t, threshold in enumerate(thresholds):
        taken = np.zeros(len(doubtful), bool)
        for i in range(k):
            best, chosen = min(threshold, 1 - 1e-10), -1
            for j in order:
                if taken[j] and not doubtful[j]:
                    continue
                if chosen >= 0 and not doubtful[chosen] and doubtful[j]:
                    break
                if shared[i, j] >= best:
                    best, chosen = shared[i, j], j
            if chosen >= 0:
                taken[chosen] = True
                counts[t, i] = right[t, i] = not doubtful[chosen]
    return right, counts


def overlaps(boxes, others, crowds) -> np.ndarray:
    """IoU (k, g); of a crowd the share of the detection that lies in it."""
    boxes, others = boxes.reshape(-1, 1, 4), others.reshape(1, -1, 4)
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    both = np.clip(sides, 0, None).prod(-1)
    own, theirs = ((b[..., 2:] - b[..., :2]).prod(-1) for b in (boxes, others))
    return both / np.maximum(np.where(crowds, own, own + theirs - both), 1e-9)


def precision_recall(right, counts, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision after each detection that counts."""
    right = right[counts]
    hits = np.cumsum(right)
    return hits / max(total, 1), hits / np.arange(1, len(right) + 1)


def under(recall, precision) -> float:
    """Area under the curve, precision made to fall (VOC from 2010 on)."""
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * falling))


def at_points(recall, precision, points) -> float:
    """Mean over recalls of the best precision there or beyond: 11 points in VOC 2007, 101 in COCO.

    >>> at_points(np.array([0.5, 1.0]), np.array([1.0, 0.5]), np.linspace(0, 1, 11))
    0.7727272727272727
    """
    falling = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(np.mean(falling[np.searchsorted(recall, points, side="left")]))
