"""Scenes of digits, and annotations in files: what is read, mended, refused."""

import json

import numpy as np
import pytest
from references import iou
from small_detectors import squares

from keras_cnns.values import by_name, from_json, to_json
from training.data import sources as pictures
from training.detection import coco as detection_coco
from training.detection import digit_scenes, sources
from training.detection import tfds as detection_tfds
from training.detection.dataset import NONE, BoxDataset, DetectionData, clip_boxes, pad_boxes
from training.detection.metrics import Detections
from training.detection.pipeline import ResizeRule
from training.errors import DataError


@pytest.fixture(scope="module")
def digits():
    return pictures.digits()


@pytest.fixture(scope="module")
def few(digits):
    return digit_scenes.make_split(digits.train, "train", 12)


def check(split: BoxDataset):
    for i in range(len(split)):
        boxes, kinds, doubts = split.truth(i)
        assert 3 <= len(kinds) <= 8
        assert not doubts.any()
        longest = (boxes[:, 2:] - boxes[:, :2]).max(1)
        assert (longest >= 24).all()
        assert (longest <= 96).all()
        assert (boxes >= 0).all()
        assert (boxes <= 256).all()
        assert all(iou(a, b) <= 0.3 for n, a in enumerate(boxes) for b in boxes[:n])


def test_digit_scenes_are_as_specified(few):
    assert few.images[0].shape == (256, 256, 3)
    check(few)


@pytest.mark.slow
def test_every_digit_scene_is_as_specified():
    whole = digit_scenes.load()
    assert [len(getattr(whole, s)) for s in ("train", "val", "test")] == [2000, 100, 500]
    for name in ("train", "val", "test"):
        check(getattr(whole, name))


def test_digit_scenes_are_functions_of_their_index(few, digits):
    again = digit_scenes.make_split(digits.train, "train", 5)
    np.testing.assert_array_equal(again.images.array, few.images.array[:5])
    np.testing.assert_array_equal(again.boxes[4][again.labels[4] != NONE], few.truth(4)[0])
    assert (digit_scenes.make_split(digits.train, "test", 1).images.array != few.images.array[:1]).any()


def test_digits_of_the_splits_are_disjoint(digits):
    seen = [{image.tobytes() for image in getattr(digits, s).images.array} for s in ("train", "val", "test")]
    both = seen[0] & seen[2]
    assert len(both) <= 1  # the source holds next to no digit twice


def test_the_old_name_of_the_resize_rule_is_read():
    rule = ResizeRule(600, 1000)
    assert from_json(to_json(rule).replace("ResizeRule", "Fit"), by_name((ResizeRule,))) == rule


def test_boxes_are_clipped():
    boxes = [[-5, 2, 10, 10], [3, 3, 3, 9], [90, 90, 95, 99], [1, 1, 4, 4], [0, float("nan"), 5, 5]]
    kept, cut, gone = clip_boxes(boxes, [0, 1, 2, 3, 4], [False] * 5, (40, 50))
    assert kept[0].tolist() == [[0, 2, 10, 10], [1, 1, 4, 4]]
    assert kept[1].tolist() == [0, 3]
    assert (cut, gone) == (1, 3)


def test_scenes_refuse_what_cannot_be_trained_on():
    good, none = squares(3), squares(3)
    none = BoxDataset(good.images, good.sizes, *pad_boxes([([], [], [])] * 3), good.ids)
    with pytest.raises(DataError, match="none of 3 training images has a box"):
        DetectionData("s", ("a", "b"), none, good, good, True, "")
    with pytest.raises(DataError, match="the val split has no images"):
        DetectionData("s", ("a", "b"), good, good.take([]), good, True, "")
    with pytest.raises(DataError, match="classes must be from 0 to 0, got 1"):
        DetectionData("s", ("a",), good, good, good, True, "")


# --- files ------------------------------------------------------------------------------------------------------


def write_images(folder, n: int, height: int = 30, width: int = 40):
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        Image.fromarray(np.full((height, width, 3), 20 * i, np.uint8)).save(folder / f"{i:03d}.png")


def xml(name: str, *objects) -> str:
    inside = "".join(
        f"<object><name>{n}</name><difficult>{d}</difficult><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin>"
        f"<xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for n, b, d in objects
    )
    return f"<annotation><filename>{name}</filename>{inside}</annotation>"


@pytest.fixture
def voc(tmp_path):
    """Ten images of 40 x 30 in the development kit's folders; the last has no objects."""
    write_images(tmp_path / "JPEGImages", 10)
    (tmp_path / "Annotations").mkdir()
    for i in range(10):
        objects = [("dog", (1, 1, 10, 20), 0), ("cat", (5, 5, 99, 12), i % 2)] if i < 9 else []
        (tmp_path / "Annotations" / f"{i:03d}.xml").write_text(xml(f"{i:03d}.png", *objects))
    return tmp_path


def test_voc(voc):
    data = sources.load(str(voc))
    assert data.classes == ("cat", "dog")
    assert [len(getattr(data, s)) for s in ("train", "val", "test")] == [7, 1, 2]
    boxes = {tuple(b) for s in ("train", "val", "test") for b in getattr(data, s).boxes.reshape(-1, 4)}
    assert boxes <= {(0, 0, 10, 20), (4, 4, 40, 12), (0, 0, 0, 0)}  # pixel 1 begins at 0; cut at 40
    assert any("9 boxes reached beyond their image" in note for note in data.notes)
    assert any("1 images have no boxes" in note for note in data.notes)
    assert sum(getattr(data, s).ignore.sum() for s in ("train", "val", "test")) == 4


def test_voc_lists(voc):
    main = voc / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (main / "train.txt").write_text("000\n001\n002\n003\n")
    (main / "val.txt").write_text("004\n005\n006\n")
    (main / "test.txt").write_text("007\n008\n")
    data = sources.load(str(voc))
    assert data.test.ids == ("007", "008")
    assert len(data.train) + len(data.val) == 7  # a detector is trained on both


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "labels.txt").write_text("dog\ncow\n"), "no class 'cat'"),
        (
            lambda f: (f / "Annotations" / "003.xml").write_text("<annotation><object>"),
            "003.xml: not a VOC annotation",
        ),
        (
            lambda f: (f / "Annotations" / "003.xml").write_text("<!DOCTYPE a><annotation/>"),
            "003.xml: an annotation must have no document type and no entities, got DTDForbidden",
        ),
        (
            lambda f: (f / "Annotations" / "003.xml").write_text(
                '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'
            ),
            r"^[^\n]*003.xml: an annotation must have no document type and no entities, got [^\n]*$",
        ),
        (lambda f: (f / "JPEGImages" / "004.png").unlink(), "its image '004.png' is neither in"),
        (
            lambda f: (f / "JPEGImages" / "004.png").write_bytes(b"no"),
            "at most 1 % of the images may be unreadable",
        ),
        (lambda f: [p.write_text("<annotation/>") for p in (f / "Annotations").iterdir()], "none of 10 XML files"),
    ],
)
def test_voc_refusals(voc, change, says):
    change(voc)
    with pytest.raises(DataError, match=says):
        sources.load(str(voc))


@pytest.fixture
def coco(tmp_path):
    write_images(tmp_path / "images", 10)
    data = {
        "categories": [{"id": 7, "name": "cup"}, {"id": 3, "name": "pen"}],
        "images": [{"id": 100 + i, "file_name": f"{i:03d}.png", "height": 30, "width": 40} for i in range(10)],
        "annotations": [
            {
                "id": i,
                "image_id": 100 + i,
                "category_id": (7, 3)[i % 2],
                "bbox": [2, 3, 10, 12],
                "iscrowd": int(i == 4),
            }
            for i in range(8)
        ],
    }
    path = tmp_path / "notes.json"
    path.write_text(json.dumps(data))
    return path, data


def test_coco(coco):
    path, _ = coco
    data = sources.load(str(path), path.parent / "images")
    assert data.classes == ("pen", "cup")  # by their numbers
    assert data.categories == (3, 7)
    answer = Detections(np.array([[1, 2, 4, 8.0]]), np.array([0.5]), np.array([1]))
    (row,) = detection_coco.result_rows(
        answer, 101, data.classes, detection_coco.category_ids(data.classes, data.categories)
    )
    wanted = {"image_id": 101, "category_id": 7, "category": "cup", "bbox": [1, 2, 3, 6], "score": 0.5}
    assert row == wanted
    assert detection_coco.category_ids(("a", "b"), ()) == {"a": 1, "b": 2}
    splits = [getattr(data, s) for s in ("train", "val", "test")]
    assert sorted(i for s in splits for i in s.ids) == list(range(100, 110))
    assert sum(s.ignore.sum() for s in splits) == 1
    first = next(s for s in splits if 101 in s.ids)
    boxes, kinds, _ = first.truth(first.ids.index(101))
    assert (boxes.tolist(), kinds.tolist()) == ([[2, 3, 12, 15]], [0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda d: d["annotations"][0].update(category_id=9),
            "annotation 0 has category_id 9, which the file does not list",
        ),
        (
            lambda d: d["annotations"][0].update(image_id=1),
            "annotation 0 has image_id 1, which the file does not list",
        ),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "not annotations in COCO's format"),
        (lambda d: d["images"][0].update(file_name="../x.png"), "lies outside"),
        (lambda d: d["images"][0].update(file_name="none.png"), "no image of notes.json"),
        (lambda d: d.pop("categories"), "not annotations in COCO's format"),
        (lambda d: d["annotations"].clear(), "training images has a box"),
    ],
)
def test_coco_refusals(coco, change, says):
    path, data = coco
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=says):
        sources.load(str(path), path.parent / "images")


def test_names_that_mean_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("")
    for spec, says in (
        ("no/such/folder.json", "no file or folder"),
        (str(tmp_path / "a.txt"), "annotations must be COCO's JSON files"),
        (str(tmp_path), "instances_train"),
    ):
        with pytest.raises(DataError, match=says):
            sources.load(spec)
    with pytest.raises(DataError, match="--images needs a JSON file in COCO's format, got --data digit_scenes"):
        sources.load("digit_scenes", tmp_path)


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Two small detection sets of TFDS, `one` with a test split and `two` without."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def make(name, splits, classes=("car", "tree")):
        class HandMade(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                objects = {
                    "bbox": tfds.features.BBoxFeature(),
                    "label": tfds.features.ClassLabel(names=classes),
                    "is_difficult": np.bool_,
                }
                found = {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "image/filename": tfds.features.Text(),
                    "objects": tfds.features.Sequence(objects),
                }
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(found))

            def _split_generators(self, dl):
                return {split: self._generate_examples(split) for split in splits}

            def _generate_examples(self, split):
                for i in range(splits[split]):
                    box = tfds.features.BBox(ymin=0.1, xmin=0.25, ymax=0.5, xmax=0.75)
                    yield (
                        i,
                        {
                            "image": np.full((20, 40, 3), 9 * i, np.uint8),
                            "image/filename": f"{split}{i}.png",
                            "objects": [{"bbox": box, "label": i % 2, "is_difficult": i == 1}] if i else [],
                        },
                    )

        HandMade.name = name
        HandMade(data_dir=tmp_path / "tfds").download_and_prepare()

    make("one", {"train": 6, "validation": 5, "test": 4})
    make("two", {"train": 9})
    make("other", {"train": 3}, ("a", "b"))
    return str(tmp_path / "tfds")


def test_tfds_and_a_union(prepared):
    alone = sources.load("one", data_dir=prepared)
    assert (len(alone.train) + len(alone.val), len(alone.test)) == (11, 4)
    both = sources.load("one+two", data_dir=prepared)
    assert (len(both.train) + len(both.val), len(both.test)) == (20, 4)
    assert set(both.test.ids) == {"test0.png", "test1.png", "test2.png", "test3.png"}
    second, third = (both.test.ids.index(f"test{i}.png") for i in (1, 2))
    np.testing.assert_allclose(both.test.truth(third)[0], [[10, 2, 30, 10]])
    assert both.test.truth(second)[2].tolist() == [True]
    assert both.test.images[third].shape == (20, 40, 3)
    with pytest.raises(DataError, match="all sets of a union must have the same classes"):
        sources.load("one+other", data_dir=prepared)


def test_tfds_without_boxes():
    import tensorflow_datasets as tfds

    with pytest.raises(DataError, match="and objects with bbox and label, got image"):
        detection_tfds.check_features("x", tfds.features.FeaturesDict({"image": tfds.features.Image()}))
