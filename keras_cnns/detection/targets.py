"""Training targets of anchors and regions: matching with true boxes and random sampling.

True boxes are (n, g, 4) with labels (n, g) >= 1; label 0 means no box. All shapes are static; weights mark what is
sampled.
"""

from dataclasses import dataclass

from keras import ops

from keras_cnns.detection.boxes import encode, iou, rows, sides
from keras_cnns.values import Count, Fraction, Value, by_name

REGION_SCALE = (0.1, 0.1, 0.2, 0.2)  # divisors of the deltas of regions


@dataclass(frozen=True)
class AnchorLot(Value):
    """How anchors are sampled (section 3.1.2 of the paper): `count` per image, at most a `share` of them positive.

    Positive anchors have an IoU of at least `positive` with a true box, or the highest IoU with one; negative
    anchors have an IoU below `negative` with all.
    """

    positive: Fraction = 0.7
    negative: Fraction = 0.3
    count: Count = 256
    share: Fraction = 0.5


@dataclass(frozen=True)
class RegionLot(Value):
    """How regions are sampled: `count` per image, at most a `share` of them foreground (IoU >= `foreground`).

    The others have an IoU in [`lowest`, `foreground`), the harder part of the background.
    """

    count: Count = 64
    share: Fraction = 0.25
    foreground: Fraction = 0.5
    lowest: Fraction = 0.1


def overlaps(candidates, boxes, labels):
    """IoU (n, m, g) of (m, 4) or (n, m, 4) candidates with true boxes; -1 for a missing box."""
    return ops.where(labels[:, None] > 0, iou(candidates, boxes), -1.0)


def match(anchors, boxes, labels, extent, lot: AnchorLot):
    """Positive (n, m), negative (n, m), best true box (n, m). Anchors across the border are neither."""
    height, width = extent[:, :1], extent[:, 1:]
    inside = (anchors[:, 0] >= 0) & (anchors[:, 1] >= 0) & (anchors[:, 2] <= width) & (anchors[:, 3] <= height)
    shared = ops.where(inside[..., None], overlaps(anchors, boxes, labels), -1.0)
    most = ops.max(shared, axis=2)
    best_of_box = ops.max(shared, axis=1, keepdims=True)
    forced = ops.any((shared == best_of_box) & (best_of_box > 0), axis=2)
    positive = inside & (forced | (most >= lot.positive))
    return positive, inside & ~positive & (most < lot.negative), ops.argmax(shared, axis=2)


def draw(mask, chance, most: int, wanted):
    """Samples `wanted` (n,) true entries of a mask (n, m), or all if there are fewer. `most` bounds `wanted`."""
    most = min(most, mask.shape[1] or most)
    if not most:
        return ops.zeros_like(mask)
    tickets = ops.where(mask, 1.0 + chance, 0.0)
    ordered = ops.top_k(tickets, most)[0]
    last = ops.take_along_axis(ordered, ops.clip(wanted - 1, 0, most - 1)[:, None], axis=1)
    return mask & (tickets >= last) & (wanted > 0)[:, None]


def draw_two(first, second, chance, count: int, share: float):
    """Samples `count` entries: at most a `share` of them from the first mask, the rest from the second."""
    few = int(count * share)
    ones = draw(first, chance, few, few + 0 * ops.sum(ops.cast(first, "int32"), axis=1))
    left = count - ops.sum(ops.cast(ones, "int32"), axis=1)
    return ones, draw(second, chance, count, left)


def regions(candidates, boxes, labels, chance, lot: RegionLot):
    """Samples regions for training from candidates (n, m, 4); the true boxes are candidates, too.

    Args:
        chance: uniform numbers (n, m + g).

    Returns:
        Regions (n, count, 4), class (n, count) with 0 for background, deltas (n, count, 4), weight (n, count).
    """
    candidates = ops.concatenate([candidates, boxes], axis=1)
    width, height = sides(candidates)
    real = (width > 0) & (height > 0)
    shared = overlaps(candidates, boxes, labels)
    most, which = ops.max(shared, axis=2), ops.argmax(shared, axis=2)
    near = real & (most >= lot.foreground)
    # In an image without boxes the maximum is -1; then all regions are background.
    empty = ~ops.any(labels > 0, axis=1, keepdims=True)
    far = real & (most < lot.foreground) & ((most >= lot.lowest) | empty)
    ones, others = draw_two(near, far, chance, lot.count, lot.share)
    order = ops.where(ones, 2.0, ops.where(others, 1.0, 0.0))
    drawn, index = ops.top_k(order, lot.count)
    chosen, which = rows(candidates, index), rows(which, index)
    kind = ops.where(drawn > 1.5, rows(labels, which), 0)
    return chosen, kind, encode(rows(boxes, which), chosen, REGION_SCALE), ops.cast(drawn > 0, "float32")


PARTS = by_name((AnchorLot, RegionLot))
