"""Pictures say what the arrays say; how they look, people judge."""

import io

import numpy as np
import pytest
from PIL import Image
from support import pixels

from training.report import canvas, pictures
from training.report.evaluation import confusion


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rows(n, val=True, rate=0.1):
    return [
        {"epoch": e, "step": e, "loss": 1 / e, "top1": 1 - 0.5 / e, "rate": rate**e, "seconds": 1.0}
        | {"val_loss": 2 / e if val else None, "val_top1": 0.1 * e if val else None}
        for e in range(1, n + 1)
    ]


def texts(figure):
    """Every text of a figure."""
    from matplotlib.text import Text

    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def check(figure, path):
    """The PNG decodes to the same pixels, is not blank, and nothing else lies in the folder."""
    canvas.save(figure, path)
    drawn = pixels(figure)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), drawn)
    assert drawn.dtype == np.uint8
    assert drawn.shape[2] == 3
    assert min(drawn.shape[:2]) >= 150
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("n", "val"), [(1, True), (1, False), (40, True)])
def test_curves(tmp_path, n, val):
    figure = pictures.curves(rows(n, val), "costs $5 or $6")
    check(figure, tmp_path / "curves.png")
    best = [t for t in texts(figure) if "best validation" in t]
    values = (f"{2 / n:.3g}", f"{10 * n:.1f} %")
    assert best == [f"best validation: {value} (epoch {n})" for value in values] * val


def test_curves_choose_their_scale_and_survive_nan():
    wide, narrow = pictures.curves(rows(5), ""), pictures.curves(rows(5, rate=0.9), "")
    assert [f.axes[2].get_yscale() for f in (wide, narrow)] == ["log", "linear"]
    broken = rows(3)
    broken[2].update(loss=float("nan"), val_loss=float("inf"), rate=0.0)
    figure = pictures.curves(broken, "")
    assert "best validation: 1 (epoch 2)" in texts(figure)


@pytest.mark.parametrize("k", [2, 10, 100])
def test_confusion_matrix(tmp_path, rng, k):
    labels = rng.integers(0, k, 20 * k)
    matrix = confusion(labels, np.where(rng.random(20 * k) < 0.8, labels, 0), k)
    matrix[1] = 0  # a class without images
    names = [f"$class {i} with a long name" for i in range(k)]
    figure = pictures.confusion_matrix(matrix, names, "100 $ test")
    check(figure, tmp_path / "confusion_matrix.png")
    found = texts(figure)
    assert any(f"{np.trace(matrix):,} of {matrix.sum():,} right" in t for t in found)
    assert (found.count(str(matrix[0, 0])) > 0) == (k <= 20)
    assert len(figure.axes[0].get_yticks()) <= 30
    assert any("most frequent confusions" in t for t in found) == (k > 20)


def test_confusion_matrix_shows_shares_of_rows():
    figure = pictures.confusion_matrix([[3, 1], [0, 2]], ["cat", "dog"], "two")
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), [[0.75, 0.25], [0, 1]])
    assert {"75.0", "100.0", "cat", "dog"} <= set(texts(figure))
    with pytest.raises(ValueError, match=r"shape \(3, 3\), got \(2, 2\)"):
        pictures.confusion_matrix(np.eye(2), "abc", "")


def test_image_grid_scales_the_set_alike(tmp_path):
    images = np.linspace(-1.2, 2.1, 2 * 4 * 6).reshape(2, 4, 6, 1)
    figure = pictures.image_grid(images, [1, 0], ["cat", "dog"], "batch")
    check(figure, tmp_path / "batch.png")
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    np.testing.assert_allclose(np.stack(shown), (images[..., 0] + 1.2) / 3.3, atol=1e-6)
    assert [axis.get_title() for axis in figure.axes][:2] == ["dog", "cat"]
    assert any("6 x 4 pixels, values from -1.2 to 2.1" in t for t in texts(figure))


def test_image_grid_captions(rng):
    images, classes = rng.normal(size=(70, 8, 8, 3)), ["cat", "dog", "cow"]
    figure = pictures.image_grid(images, np.tile([[0.7, 0, 0.3]], (70, 1)), classes, "mixed")
    assert figure.axes[0].get_title() == "70 % cat\n30 % cow"
    assert any("64 of 70 images" in t for t in texts(figure))
    assert pictures.image_grid(images[:1] * 0, [0], classes, "black").axes[0].images[0].get_array().max() == 0.5
    with pytest.raises(ValueError, match="1 or 3"):
        pictures.image_grid(np.zeros((2, 8, 8, 4)), [0, 0], classes, "")


def test_mosaic_puts_every_pixel_in_its_place(rng):
    tiles = rng.random((7, 3, 2, 3))
    picture = pictures.mosaic(tiles, columns=4)
    assert picture.shape == (2 * 4 + 1, 4 * 3 + 1, 3)
    for i, row, column in np.ndindex(7, 3, 2):
        found = picture[i // 4 * 4 + 1 + row, i % 4 * 3 + 1 + column]
        np.testing.assert_array_equal(found, tiles[i, row, column])
    assert np.all(picture[5:, 10:] == 1), "the place of the eighth is empty"


def test_filters_are_symmetric_around_grey(tmp_path):
    kernel = np.zeros((5, 4, 3, 6), np.float32)  # height 5, width 4
    kernel[0, 3, 0, 1] = 2.0  # filter 1, top right, red
    kernel[4, 0, 2, 5] = -2.0  # filter 5, bottom left, blue
    figure = pictures.filters(kernel, "conv1")
    check(figure, tmp_path / "filters.png")
    picture = figure.axes[0].images[0].get_array()
    assert picture.shape == (2 * 6 + 1, 3 * 5 + 1, 3)
    np.testing.assert_array_equal(picture[1, 6 + 3], [1, 0.5, 0.5])
    np.testing.assert_array_equal(picture[7 + 4, 11], [0.5, 0.5, 0])
    assert np.all(picture[1:6, 1:5] == 0.5)
    assert any("weights from -2 to 2" in t for t in texts(figure))


@pytest.mark.parametrize("shape", [(5, 5, 1, 6), (3, 3, 64, 40), (1, 1, 3, 1), (11, 11, 3, 96)])
def test_filters_of_any_shape(rng, shape):
    figure = pictures.filters(rng.normal(size=shape), "conv1")
    picture = figure.axes[0].images[0].get_array()
    assert picture.min() >= 0
    assert picture.max() <= 1
    if shape[2] == 64:  # 32 x 32 slices
        assert picture.shape == (32 * 4 + 1, 32 * 4 + 1)
    pixels(figure)


def test_filters_without_weights_are_grey():
    assert np.all(pictures.filters(np.zeros((3, 3, 1, 1)), "dead").axes[0].images[0].get_array()[1:4, 1:4] == 0.5)


def test_png_bytes_are_a_png():
    with Image.open(io.BytesIO(canvas.png_bytes(pictures.curves(rows(2), "")))) as image:
        assert image.format == "PNG"
        image.verify()
