"""Average precision as defined by PASCAL VOC (2007 and later) and by COCO.

A detection is correct if it overlaps enough with a true box of its class that no better detection has matched.
Boxes to ignore (VOC's difficult, COCO's crowds) count neither for nor against.
"""

from dataclasses import dataclass

import numpy as np

COCO_IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
COCO_MAX_DETECTIONS = 100  # per image


@dataclass(frozen=True)
class Detections:
    """Detections of one image: boxes (k, 4), scores (k,), classes (k,)."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def above(self, score: float) -> "Detections":
        """Those with at least this score."""
        good = self.scores >= score
        return Detections(self.boxes[good], self.scores[good], self.classes[good])


def measure(found: list[Detections], split, classes: int) -> dict:
    """All figures of a split: `ap50` (VOC, area under the curve), `ap50_voc07` (11 points), `ap`, `ap75` (COCO).

    Each is the mean over the classes in the split, 0 if there are none; `ap50_coco` is COCO's at an IoU of 0.5,
    by 101 points; `of_class` has the ap50 of each class, None for a class without boxes. `n` is the number of
    images, `boxes` that of the true boxes.
    """
    truths = [split.truth(i) for i in range(len(split))]
    voc, voc07, coco = [], [], []
    for label in range(classes):
        if not any((t[1][~t[2]] == label).any() for t in truths):
            voc.append(None)
            continue
        correct, counts, total = match_class(found, truths, label, (0.5,), _match_voc)
        curve = recall_precision(correct[0], counts[0], total)
        voc.append(area_under_curve(*curve))
        voc07.append(mean_precision(*curve, np.linspace(0, 1, 11)))
        correct, counts, total = match_class(found, truths, label, COCO_IOUS, _match_coco)
        curves = (recall_precision(*pair, total) for pair in zip(correct, counts, strict=True))
        coco.append([mean_precision(*curve, np.linspace(0, 1, 101)) for curve in curves])
    by_iou = np.array(coco).mean(axis=0) if coco else np.zeros(len(COCO_IOUS))
    return {
        "ap50": float(np.mean([a for a in voc if a is not None] or [0.0])),
        "ap50_voc07": float(np.mean(voc07 or [0.0])),
        "ap": float(by_iou.mean()),
        "ap50_coco": float(by_iou[0]),
        "ap75": float(by_iou[COCO_IOUS.index(0.75)]),
        "n": len(split),
        "boxes": int(sum((~t[2]).sum() for t in truths)),
        "of_class": voc,
    }


def describe(figures: dict) -> str:
    """The figures of `measure` in one line."""
    return (
        f"AP50 {figures['ap50']:.4f} (n={figures['n']} images, {figures['boxes']} boxes), "
        f"VOC07 11-point {figures['ap50_voc07']:.4f}, COCO AP {figures['ap']:.4f}, AP75 {figures['ap75']:.4f}"
    )


def match_class(found, truths, label: int, thresholds: tuple, match):
    """Of all detections of a class, best first: which are correct and which count, (t, k); and the true boxes.

    VOC takes the true box with the largest overlap; the detection is wrong if another has matched that box. COCO
    takes the best unmatched box, and uses at most 100 detections per image.
    """
    rows, total, coco = [], 0, match is _match_coco
    for one, (boxes, labels, ignore) in zip(found, truths, strict=True):
        own = np.flatnonzero(one.classes == label)
        own = own[np.argsort(-one.scores[own], kind="stable")][: COCO_MAX_DETECTIONS if coco else None]
        same = labels == label
        total += int((same & ~ignore).sum())
        ious = iou(one.boxes[own], boxes[same], ignore[same] & coco)
        right, counted = zip(*(match(ious, ignore[same], threshold) for threshold in thresholds), strict=True)
        rows.append((one.scores[own], right, counted))
    scores, correct, counts = (np.concatenate(column, axis=-1) for column in zip(*rows, strict=True))
    order = np.argsort(-scores, kind="mergesort")
    return correct[:, order], counts[:, order], total


def _match_voc(ious, ignore, threshold):
    correct, counts, matched = np.zeros(len(ious), bool), np.ones(len(ious), bool), np.zeros(len(ignore), bool)
    for i, row in enumerate(ious):
        j = int(row.argmax()) if len(ignore) else -1
        if j < 0 or row[j] <= threshold:
            continue
        counts[i] = not ignore[j]
        correct[i] = not ignore[j] and not matched[j]
        matched[j] = True
    return correct, counts


def _match_coco(ious, ignore, threshold):
    correct, counts, matched = np.zeros(len(ious), bool), np.ones(len(ious), bool), np.zeros(len(ignore), bool)
    order = np.argsort(ignore, kind="stable")  # true boxes before crowds, as in the reference
    for i, row in enumerate(ious):
        best, chosen = min(threshold, 1 - 1e-10), -1
        for j in order:
            if matched[j] and not ignore[j]:
                continue
            if chosen >= 0 and not ignore[chosen] and ignore[j]:
                break
            if row[j] >= best:
                best, chosen = row[j], j
        if chosen >= 0:
            matched[chosen] = True
            counts[i] = correct[i] = not ignore[chosen]
    return correct, counts


def iou(boxes, others, crowds) -> np.ndarray:
    """IoU (k, g); for a crowd the fraction of the detection's area that lies in it."""
    boxes, others = boxes.reshape(-1, 1, 4), others.reshape(1, -1, 4)
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    both = np.clip(sides, 0, None).prod(-1)
    own, theirs = ((b[..., 2:] - b[..., :2]).prod(-1) for b in (boxes, others))
    return both / np.maximum(np.where(crowds, own, own + theirs - both), 1e-9)


def recall_precision(correct, counts, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Recall after each detection that counts, and the best precision at that recall or a higher one."""
    correct = correct[counts]
    hits = np.cumsum(correct)
    precision = hits / np.arange(1, len(correct) + 1)
    return hits / max(total, 1), np.maximum.accumulate(precision[::-1])[::-1]


def area_under_curve(recall, precision) -> float:
    """Area under a curve of `recall_precision` (VOC since 2010)."""
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def mean_precision(recall, precision, points) -> float:
    """Mean precision of a curve of `recall_precision` at recall levels: 11 in VOC 2007, 101 in COCO.

    >>> mean_precision(np.array([0.5, 1.0]), np.array([1.0, 0.5]), np.linspace(0, 1, 11))
    0.7727272727272727
    """
    return float(np.mean(np.append(precision, 0.0)[np.searchsorted(recall, points, side="left")]))
