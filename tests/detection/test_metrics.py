"""Average precision: curves worked by hand, the three ways of counting, pycocotools where it is installed."""

import contextlib
import io

import numpy as np
import pytest
from references import random_boxes

from training.data.storage import Pixels
from training.detection import metrics
from training.detection.dataset import BoxDataset, pad_boxes
from training.detection.metrics import Detections


def split(*truths) -> BoxDataset:
    """Images of these (boxes, classes, doubts)."""
    n = len(truths)
    sizes = np.full((n, 2), 100, np.int32)
    return BoxDataset(Pixels(np.zeros((n, 1, 1, 3), np.uint8)), sizes, *pad_boxes(list(truths)), tuple(range(n)))


def found(boxes, scores, classes=None):
    classes = [0] * len(scores) if classes is None else classes
    return Detections(
        np.array(boxes, "float32").reshape(-1, 4), np.array(scores, "float32"), np.array(classes, int)
    )


ONE, TWO, AWAY = [0, 0, 10, 10], [50, 50, 70, 70], [80, 0, 90, 10]


def test_perfect_and_nothing():
    truth = split(([ONE, TWO], [0, 1], [False, False]))
    all_right = metrics.measure([found([ONE, TWO], [0.9, 0.8], [0, 1])], truth, 2)
    assert [all_right[k] for k in ("ap50", "ap50_voc07", "ap", "ap75")] == [1, 1, 1, 1]
    assert (all_right["n"], all_right["boxes"]) == (1, 2)
    nothing = metrics.measure([found([], [])], truth, 2)
    assert [nothing[k] for k in ("ap50", "ap50_voc07", "ap")] == [0, 0, 0]


def test_a_curve_by_hand():
    """Right, wrong, right of two boxes: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1."""
    truth = split(([ONE, TWO], [0, 0], [False, False]))
    got = metrics.measure([found([ONE, AWAY, TWO], [0.9, 0.8, 0.7])], truth, 1)
    assert got["ap50"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert got["ap50_voc07"] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert got["ap"] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_the_second_of_a_box_is_wrong():
    truth = split(([ONE, TWO], [0, 0], [False, False]))
    got = metrics.measure([found([ONE, ONE, TWO], [0.9, 0.8, 0.7])], truth, 1)
    assert got["ap50"] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_doubtful_boxes_count_neither_way():
    truth = split(([ONE, TWO], [0, 0], [True, False]))
    got = metrics.measure([found([ONE, TWO], [0.9, 0.8])], truth, 1)
    assert got["ap50"] == got["ap"] == 1
    assert got["boxes"] == 1


def test_a_class_that_is_not_there_is_left_out():
    truth = split(([ONE], [0], [False]))
    got = metrics.measure([found([ONE, AWAY], [0.9, 0.8], [0, 2])], truth, 3)
    assert got["of_class"] == [1.0, None, None]
    assert got["ap50"] == 1.0


def test_nothing_to_measure_on():
    got = metrics.measure([found([ONE], [0.9])], split(([], [], [])), 1)
    assert (got["ap50"], got["ap"], got["boxes"], got["of_class"]) == (0.0, 0.0, 0, [None])


def test_how_close_counts_for_coco():
    truth = split(([[0, 0, 10, 10]], [0], [False]))
    got = metrics.measure(
        [found([[0, 0, 10, 8]], [0.9])], truth, 1
    )  # IoU 0.8: right up to 0.8, of ten thresholds 7
    assert got["ap50"] == 1
    assert got["ap75"] == 1
    assert got["ap"] == pytest.approx(0.7)


def test_against_pycocotools():
    """Random boxes, moved copies as detections, crowds: the same AP, AP50 and AP75."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    chance, truths, answers = np.random.RandomState(0), [], []
    for _ in range(30):
        k = chance.randint(0, 7)
        boxes, kinds = random_boxes(chance, k, 100, 100, 6), chance.randint(0, 3, k)
        truths.append((boxes, kinds, chance.rand(k) < 0.15))
        moved = np.concatenate([boxes + chance.normal(0, 2, (k, 4)), random_boxes(chance, 3, 100, 100, 6)])
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        answers.append(found(moved, chance.permutation(k + 3) / 10 + 0.01, [*kinds, *chance.randint(0, 3, 3)]))
    data = split(*truths)
    notes, results = [], []
    for i, one in enumerate(answers):
        for box, kind, crowd in zip(*data.truth(i), strict=True):
            wide = [float(v) for v in (*box[:2], *(box[2:] - box[:2]))]
            notes.append(
                {"id": len(notes) + 1, "image_id": i, "category_id": int(kind), "bbox": wide, "area": 1.0}
            )
            notes[-1]["iscrowd"] = int(crowd)
        for box, score, kind in zip(one.boxes, one.scores, one.classes, strict=True):
            wide = [float(v) for v in (*box[:2], *(box[2:] - box[:2]))]
            results.append({"image_id": i, "category_id": int(kind), "bbox": wide, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        reference = coco.COCO()
        reference.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(30)],
            "categories": [{"id": i} for i in range(3)],
            "annotations": notes,
        }
        reference.createIndex()
        run = evaluation.COCOeval(reference, reference.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    got = metrics.measure(answers, data, 3)
    np.testing.assert_allclose([got["ap"], got["ap50_coco"], got["ap75"]], run.stats[:3], atol=1e-6)
