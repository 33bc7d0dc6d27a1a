"""The layers of a two-stage detector, configured by values; only layers that sample have state (a seed)."""

from dataclasses import dataclass

import keras
from keras import ops

from keras_cnns import values
from keras_cnns.detection import anchors as anchor_parts
from keras_cnns.detection import roi, targets
from keras_cnns.detection.boxes import clip, decode, encode, rows, sides
from keras_cnns.detection.nms import select
from keras_cnns.detection.targets import REGION_SCALE
from keras_cnns.values import Count, Fraction, Value, by_name

RPN_BETA = 1 / 9  # where the smooth L1 of the proposals becomes linear (sigma = 3)
REGION_BETA = 1.0
LOSSES = ("rpn_objectness", "rpn_boxes", "region_classes", "region_boxes")


@dataclass(frozen=True)
class Proposals(Value):
    """How anchors become proposals.

    Attributes:
        before: number of best boxes before non-maximum suppression.
        after: number of boxes after it.
        overlap: IoU above which the lower-scoring of two boxes is removed.
        min_size: minimum side in pixels.
    """

    before: Count = 6000
    after: Count = 300
    overlap: Fraction = 0.7
    min_size: values.Positive = 16


@dataclass(frozen=True)
class Detections(Value):
    """How regions become detections: per class, the best `limit` with at least `score`, without overlaps."""

    score: Fraction = 0.05
    overlap: Fraction = 0.3
    limit: Count = 100


PARTS = by_name((Proposals, Detections)) | anchor_parts.PARTS | roi.PARTS | targets.PARTS


class Holder(keras.layers.Layer):
    """Base of float32 layers whose configuration is a list of values (`told`)."""

    def __init__(self, *told, **options):
        super().__init__(**{"dtype": "float32"} | options)
        self.told = told

    def get_config(self):
        return {**super().get_config(), "told": values.encode(self.told)}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        return cls(*values.decode(config.pop("told"), PARTS), **config)


def _spec(shape, dtype="float32"):
    return keras.KerasTensor(shape, dtype)


@keras.saving.register_keras_serializable("keras_cnns")
class Extent(Holder):
    """Height and width of the images (n, h, w, c), as (n, 2)."""

    def compute_output_spec(self, images):
        return _spec((images.shape[0], 2))

    def call(self, images):
        n, height, width, _ = ops.shape(images)
        one = ops.cast(ops.stack([height, width]), "float32")
        return ops.broadcast_to(one, (n, 2))


@keras.saving.register_keras_serializable("keras_cnns")
class Propose(Holder):
    """Scores (n, h, w, 2 a) and deltas (n, h, w, 4 a) of the map, extents (n, 2) -> regions (n, after, 4).

    Scores are logits, background before object for each anchor. A missing region is all zeros.
    """

    def compute_output_spec(self, scores, deltas, extent):
        return _spec((scores.shape[0], self.told[1].after, 4))

    def call(self, scores, deltas, extent):
        anchors, rule = self.told
        _, height, width, _ = ops.shape(scores)
        scores = ops.reshape(scores, (-1, height * width * anchors.count, 2))
        scores = ops.stop_gradient(ops.softmax(scores)[..., 1])
        deltas = ops.stop_gradient(ops.reshape(deltas, (-1, height * width * anchors.count, 4)))
        total = height * width * anchors.count
        best, index = ops.top_k(scores, min(rule.before, total) if isinstance(total, int) else rule.before)
        seen_from = ops.take(anchors(height, width), index, axis=0)
        boxes = clip(decode(rows(deltas, index), seen_from), extent)
        width, height = sides(boxes)
        best = ops.where((width >= rule.min_size) & (height >= rule.min_size), best, -1.0)
        chosen, good = select(boxes, best, rule.after, rule.overlap, -0.5)
        return ops.where(good[..., None], rows(boxes, chosen), 0.0)


@keras.saving.register_keras_serializable("keras_cnns")
class Pool(Holder):
    """Maps (n, h, w, c) and regions (n, k, 4) in pixels -> (n * k, size, size, c)."""

    def compute_output_spec(self, maps, regions):
        n, k = regions.shape[:2]
        size = self.told[1].size
        return _spec((None if n is None else n * k, size, size, maps.shape[-1]))

    def call(self, maps, regions):
        anchors, pool = self.told
        return pool(maps, ops.stop_gradient(regions), anchors.stride)


@keras.saving.register_keras_serializable("keras_cnns")
class Detect(Holder):
    """Logits (n * k, c + 1) and deltas (n * k, 4 (c + 1)) of regions (n, k, 4), background first -> detections.

    Returns boxes (n, limit, 4), scores (n, limit), classes (n, limit) from 0, count (n,), by descending score;
    entries beyond the count are zero.
    """

    def compute_output_spec(self, logits, deltas, regions, extent):
        n, limit = regions.shape[0], self.told[0].limit
        return {
            "boxes": _spec((n, limit, 4)),
            "scores": _spec((n, limit)),
            "classes": _spec((n, limit), "int32"),
            "count": _spec((n,), "int32"),
        }

    def call(self, logits, deltas, regions, extent):
        (rule,) = self.told
        k, c = regions.shape[1], logits.shape[-1] - 1
        scores = ops.reshape(ops.softmax(logits)[:, 1:], (-1, k * c))
        deltas = ops.reshape(deltas, (-1, k, c + 1, 4))[:, :, 1:]
        boxes = clip(ops.reshape(decode(deltas, regions[:, :, None], REGION_SCALE), (-1, k * c, 4)), extent)
        width, height = sides(boxes)
        lacking = ops.repeat(regions[..., 2] <= regions[..., 0], c, axis=1)
        scores = ops.where((width > 0) & (height > 0) & ~lacking, scores, 0.0)
        # Moves classes apart, so that only boxes of one class overlap (as in torchvision's batched_nms).
        kinds = ops.tile(ops.arange(c, dtype="int32"), k)
        apart = ops.cast(kinds, "float32")[None, :, None] * (ops.max(extent) + 1)
        chosen, good = select(boxes + apart, scores, rule.limit, rule.overlap, rule.score)
        return {
            "boxes": ops.where(good[..., None], rows(boxes, chosen), 0.0),
            "scores": ops.where(good, rows(scores, chosen), 0.0),
            "classes": ops.where(good, ops.take(kinds, chosen), 0),
            "count": ops.sum(ops.cast(good, "int32"), axis=1),
        }


# --- training ---------------------------------------------------------------------------------------------------


class Lot(Holder):
    """Base of layers that sample at random; the seed is saved, so that a restart continues the sequence."""

    def __init__(self, *told, **options):
        super().__init__(*told, **options)
        self.seed_generator = keras.random.SeedGenerator()

    def chance(self, like):
        """Uniform numbers (n, m) for a mask or tensor (n, m, ...)."""
        return keras.random.uniform(ops.shape(like)[:2], seed=self.seed_generator)


@keras.saving.register_keras_serializable("keras_cnns")
class AnchorLoss(Lot):
    """Losses of the proposals, (n, 2): objectness (mean over the sample), boxes (sum / sample size)."""

    def compute_output_spec(self, scores, deltas, boxes, labels, extent):
        return _spec((scores.shape[0], 2))

    def call(self, scores, deltas, boxes, labels, extent):
        anchors, lot = self.told
        _, height, width, _ = ops.shape(scores)
        places = anchors(height, width)
        positive, negative, best = targets.match(places, boxes, labels, extent, lot)
        ones, others = targets.draw_two(positive, negative, self.chance(positive), lot.count, lot.share)
        ones, drawn = ops.cast(ones, "float32"), ops.cast(ones | others, "float32")
        count = ops.maximum(ops.sum(drawn, axis=1), 1.0)
        scores = ops.reshape(scores, (-1, ops.shape(places)[0], 2))
        each = ops.softplus((scores[..., 0] - scores[..., 1]) * (2 * ones - 1))
        wanted = encode(rows(boxes, best), places)
        lengths = smooth_l1(ops.reshape(deltas, (-1, ops.shape(places)[0], 4)), wanted, RPN_BETA)
        sums = [ops.sum(each * drawn, axis=1), ops.sum(lengths * ones, axis=1)]
        return ops.stack([s / count for s in sums], axis=1)


@keras.saving.register_keras_serializable("keras_cnns")
class DrawRegions(Lot):
    """Proposals (n, k, 4) -> sampled regions for training (n, count, 4), their classes, deltas and weights.

    The true boxes (n, g, 4) with labels (n, g) are candidates, too.
    """

    def compute_output_spec(self, proposals, boxes, labels):
        n, count = proposals.shape[0], self.told[0].count
        return _spec((n, count, 4)), _spec((n, count), "int32"), _spec((n, count, 4)), _spec((n, count))

    def call(self, proposals, boxes, labels):
        (lot,) = self.told
        labels = ops.cast(labels, "int32")
        chance = self.chance(ops.concatenate([proposals, boxes], axis=1))
        return targets.regions(proposals, boxes, labels, chance, lot)


@keras.saving.register_keras_serializable("keras_cnns")
class RegionLoss(Holder):
    """Losses of the regions, (n, 2): classes (mean over the sample), boxes of their class (sum / sample size)."""

    def compute_output_spec(self, logits, deltas, kinds, wanted, weights):
        return _spec((kinds.shape[0], 2))

    def call(self, logits, deltas, kinds, wanted, weights):
        k, c = kinds.shape[1], logits.shape[-1]
        kinds = ops.cast(kinds, "int32")
        count = ops.maximum(ops.sum(weights, axis=1), 1.0)
        logits, deltas = ops.reshape(logits, (-1, k, c)), ops.reshape(deltas, (-1, k, c, 4))
        own = ops.one_hot(kinds, c)
        each = -ops.sum(own * ops.log_softmax(logits), axis=-1)
        own_deltas = ops.sum(deltas * own[..., None], axis=2)
        near = weights * ops.cast(kinds > 0, "float32")
        lengths = smooth_l1(own_deltas, wanted, REGION_BETA)
        sums = [ops.sum(each * weights, axis=1), ops.sum(lengths * near, axis=1)]
        return ops.stack([s / count for s in sums], axis=1)


def smooth_l1(x, wanted, beta: float):
    """Smooth L1: quadratic up to `beta`, linear beyond (Girshick 2015), summed over the last axis."""
    distance = ops.abs(x - ops.stop_gradient(wanted))
    each = ops.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta)
    return ops.sum(each, axis=-1)
