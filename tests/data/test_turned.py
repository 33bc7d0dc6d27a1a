"""Photographs that the camera marked as turned are read the right way up, as Pillow turns them."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from training.data import folder, pipeline
from training.data.augment import InceptionCrop
from training.data.dataset import Split
from training.data.eval_transform import EvalTransform
from training.data.storage import Files, Pixels

TURNS = range(1, 9)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """DIR/{cats,dogs}/{turn}.jpg and .png, 30 wide and 20 high as stored."""
    root = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), "uint8")
    for name in ("cats", "dogs"):
        (root / name).mkdir()
        for turn in TURNS:
            mark = Image.Exif()
            mark[folder.ORIENTATION] = turn
            for suffix in ("jpg", "png"):
                Image.fromarray(pixels).save(root / name / f"{turn}.{suffix}", exif=mark)
    return root


def as_pillow_turns(path):
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("turn", TURNS)
def test_every_turn(photos, turn):
    path = photos / "cats" / f"{turn}.png"
    image, reason, found = folder.read(str(path))
    assert (reason, found) == (None, turn)
    np.testing.assert_array_equal(image, as_pillow_turns(path))
    jpeg = photos / "cats" / f"{turn}.jpg"
    # Two decoders of JPEG differ a little; two turns of noise differ by a third of the range.
    assert np.abs(folder.read(str(jpeg))[0].astype(int) - as_pillow_turns(jpeg)).mean() < 5


def test_a_folder_is_trained_on_the_right_way_up(photos):
    data = folder.load(photos)
    assert data.image_shape == (None, None, 3)
    files = data.train.images
    for i in range(len(files)):
        assert files[i].shape == as_pillow_turns(files.name(i)).shape
    batches = pipeline.eval_batches(data.train, size=8, channels=3, batch_size=16, preprocess=pipeline.untouched)
    images = np.concatenate([x for x, _ in batches])
    for i, image in enumerate(images):
        expected = pipeline.resize_and_crop(as_pillow_turns(files.name(i))[None], 8)[0]
        assert np.abs(image - np.asarray(expected, "float32")).mean() < 5


def test_a_window_of_a_turned_jpeg_is_one_of_the_upright_image(photos):
    path = str(photos / "cats" / "6.jpg")
    files = Files((path,), turns=(6,))
    image = folder.read(path)[0]

    def draw(k):
        return 0.1 + 0.2 * k

    crop = InceptionCrop()
    seen = pipeline.read_cropped(files, 0, 8, crop, draw)
    np.testing.assert_array_equal(seen, pipeline.read_cropped(Pixels(image[None]), 0, 8, crop, draw))
    as_stored = pipeline.read_cropped(Files((path,)), 0, 8, crop, draw)
    assert np.abs(np.asarray(seen, int) - np.asarray(as_stored, int)).mean() > 10


def test_a_published_evaluation_takes_images_as_they_are_stored(photos):
    _, split, _, _ = folder.to_measure(photos)
    assert isinstance(split, Split)
    assert {image.shape for image in map(split.images.__getitem__, range(len(split)))} == {(20, 30, 3)}
    (batch, _), *_ = pipeline.eval_batches(
        split, size=8, channels=3, batch_size=32, preprocess=pipeline.untouched, crop=EvalTransform(8, 9)
    )
    assert np.ptp(np.mean(batch, axis=(1, 2, 3))) < 5


def test_a_damaged_mark_is_no_mark(tmp_path):
    path = tmp_path / "odd.jpg"
    Image.new("RGB", (6, 4)).save(path, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    image, reason, turn = folder.read(str(path))
    assert (image.shape, reason, turn) == ((4, 6, 3), None, 1)
