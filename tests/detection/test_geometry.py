"""Boxes, anchors, non-maximum suppression and what anchors and regions should say."""

import numpy as np
import pytest
from keras import ops
from references import iou as iou_of_two
from references import nms, random_boxes

from keras_cnns.detection import AnchorLot, Anchors, RegionLot, RoundedAnchors, targets
from keras_cnns.detection.boxes import clip, decode, encode, iou, rows
from keras_cnns.detection.nms import _by_loop, select

CHANCE = np.random.RandomState(3)

# py-faster-rcnn prints these, zero-based, the last pixel inside.
PUBLISHED = """-84 -40 99 55  -176 -88 191 103  -360 -184 375 199  -56 -56 71 71  -120 -120 135 135
-248 -248 263 263  -36 -80 51 95  -80 -168 95 183  -168 -344 183 359"""


def array(x):
    return np.asarray(ops.convert_to_numpy(x))


def test_the_nine_reference_anchors():
    published = np.array(PUBLISHED.split(), "float32").reshape(9, 4) + np.array([0, 0, 1, 1])
    ours = RoundedAnchors((128, 256, 512)).base()
    assert {tuple(a) for a in ours} == {tuple(p) for p in published}


def test_anchors_of_a_map():
    anchors = Anchors((16, 32), (0.5, 2.0), stride=8, offset=0.5)
    every = array(anchors(3, 5)).reshape(3, 5, 4, 4)
    sides = every[..., 2:] - every[..., :2]
    np.testing.assert_allclose(sides.prod(-1), np.broadcast_to([256, 256, 1024, 1024], (3, 5, 4)), rtol=1e-5)
    np.testing.assert_allclose(
        sides[..., 1] / sides[..., 0], np.broadcast_to([0.5, 2, 0.5, 2], (3, 5, 4)), rtol=1e-5
    )
    centres = (every[..., 2:] + every[..., :2]) / 2
    np.testing.assert_allclose(centres[2, 3], np.broadcast_to([8 * 3.5, 8 * 2.5], (4, 2)), atol=1e-5)


def test_decode_is_the_inverse_of_encode():
    anchors, boxes = random_boxes(CHANCE, 50, 200, 300), random_boxes(CHANCE, 50, 200, 300)
    scale = targets.REGION_SCALE
    np.testing.assert_allclose(array(decode(encode(boxes, anchors, scale), anchors, scale)), boxes, atol=2e-2)
    assert not array(encode(anchors, anchors)).any()


def test_growth_is_bounded():
    grown = array(decode(np.array([[0.0, 0, 99, 99]], "float32"), np.array([[0.0, 0, 16, 16]], "float32")))
    np.testing.assert_allclose(grown[0, 2:] - grown[0, :2], 1000, rtol=1e-4)


def test_iou_and_clip():
    a, b = random_boxes(CHANCE, 6, 50, 50), random_boxes(CHANCE, 7, 50, 50)
    np.testing.assert_allclose(array(iou(a, b)), [[iou_of_two(x, y) for y in b] for x in a], atol=1e-6)
    cut = array(clip(np.array([[[-3.0, 2, 99, 40]]], "float32"), np.array([[30.0, 60.0]], "float32")))
    assert cut.tolist() == [[[0, 2, 60, 30]]]


def test_rows():
    x = np.arange(24.0).reshape(2, 4, 3)
    np.testing.assert_array_equal(
        array(rows(x, np.array([[3, 0], [1, 1]]))), np.stack([x[0, [3, 0]], x[1, [1, 1]]])
    )


@pytest.mark.parametrize("by", [select, _by_loop])
def test_suppression_against_a_loop(by):
    boxes = np.stack([random_boxes(CHANCE, 60, 60, 60), random_boxes(CHANCE, 60, 60, 60)])
    scores = CHANCE.permutation(120).reshape(2, 60).astype("float32") / 120
    chosen, good = map(array, by(boxes, scores, 30, 0.3, 0.4))
    for i in range(2):
        assert chosen[i][good[i]].tolist() == nms(boxes[i], scores[i], 30, 0.3, 0.4)
    assert not good.all()  # fewer are left than are asked for


def test_anchors_are_matched_as_by_hand():
    anchors = [
        [0, 0, 10, 10],
        [0, 0, 10, 8],
        [20, 20, 30, 30],
        [24, 20, 34, 30],
        [-2, 0, 10, 10],
        [40, 40, 50, 50],
    ]
    anchors = np.array(anchors, "float32")
    # The first box lies on anchor 0 (IoU 1) and 1 (0.8); of the second anchor 3 is the best (0.43, below 0.7), and
    # anchor 2 shares little (0.11). Anchor 4 crosses the border. Anchor 5 is far from all.
    boxes = np.array([[[0, 0, 10, 10], [28, 20, 38, 30], [0, 0, 0, 0]]], "float32")
    labels = np.array([[2, 1, 0]], "int32")
    positive, negative, best = targets.match(
        anchors, boxes, labels, np.array([[60.0, 60.0]], "float32"), AnchorLot()
    )
    assert array(positive)[0].tolist() == [True, True, False, True, False, False]
    assert array(negative)[0].tolist() == [False, False, True, False, False, True]
    assert array(best)[0][[0, 1, 3]].tolist() == [0, 0, 1]


def test_an_image_without_boxes_has_negatives_only():
    anchors = array(Anchors((8,), (1.0,), 8, 0.5)(4, 4))
    none = np.zeros((1, 2, 4), "float32"), np.zeros((1, 2), "int32")
    positive, negative, _ = targets.match(anchors, *none, np.array([[32.0, 32.0]], "float32"), AnchorLot())
    assert not array(positive).any()
    assert array(negative).all()
    found = random_boxes(CHANCE, 20, 32, 32)[None]
    regions, kinds, _, weights = targets.regions(
        found, *none, CHANCE.rand(1, 22).astype("float32"), RegionLot(8, lowest=0.1)
    )
    assert array(weights).all()
    assert not array(kinds).any()
    assert {tuple(r) for r in array(regions)[0]} <= {tuple(f) for f in found[0]}


def test_lots_have_their_sizes():
    first, second = np.zeros((2, 100), bool), np.zeros((2, 100), bool)
    first[0, :40], first[1, :3], second[:, 50:] = True, True, True
    chance = CHANCE.rand(2, 100).astype("float32")
    ones, others = (array(x) for x in targets.draw_two(first, second, chance, 20, 0.5))
    assert ones.sum(1).tolist() == [10, 3]
    assert others.sum(1).tolist() == [10, 17]
    assert not (ones & ~first).any()
    assert not (others & ~second).any()
    other = array(targets.draw_two(first, second, 1 - chance, 20, 0.5)[0])
    assert (other != ones).any()  # it is a lot


def test_regions_that_learn():
    boxes = np.array([[[10, 10, 30, 30], [0, 0, 0, 0]]], "float32")
    found = np.concatenate([random_boxes(CHANCE, 30, 60, 60), np.zeros((10, 4), "float32")])[None]
    regions, kinds, deltas, weights = (
        array(x)
        for x in targets.regions(
            found, boxes, np.array([[7, 0]], "int32"), CHANCE.rand(1, 42).astype("float32"), RegionLot(16, 0.25)
        )
    )
    shared = np.array([iou_of_two(r, boxes[0, 0]) for r in regions[0] + (0, 0, 1e-9, 1e-9)])
    near = kinds[0] == 7
    assert near.any()  # the true box itself, if no other
    assert near.sum() <= 4
    assert (shared[near & (weights[0] > 0)] >= 0.5).all()
    far = ~near & (weights[0] > 0)
    assert ((shared[far] >= 0.1) & (shared[far] < 0.5)).all()
    back = array(decode(deltas[0][near], regions[0][near], targets.REGION_SCALE))
    np.testing.assert_allclose(back, np.broadcast_to(boxes[0, 0], back.shape), atol=1e-3)
