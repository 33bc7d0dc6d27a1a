"""Erasing: rectangles of the published sizes, filled as asked."""

import numpy as np

from training.data.erasing import Cutout, RandomErasing
from training.data.stateless_random import uniform


def test_rectangles_have_the_published_sizes():
    n = 3000
    images = np.zeros((n, 40, 40, 1), np.uint8)
    part = RandomErasing(0.5, (0.05, 0.2), (0.5, 2.0), fill=9.0)
    erased = part(images, uniform(0, 0, np.arange(n), 0)).numpy()[..., 0]
    assert set(np.unique(erased)) == {0, 9}
    some = erased.any((1, 2))
    assert abs(some.mean() - 0.5) < 0.05
    rows, columns = erased[some].any(2).sum(1), erased[some].any(1).sum(1)
    area = (erased[some] > 0).sum((1, 2))
    np.testing.assert_array_equal(rows * columns, area)
    assert 0.045 < (area / 1600).min() < 0.06
    assert 0.19 < (area / 1600).max() < 0.21
    assert abs((area / 1600).mean() - 0.125) < 0.003
    assert 0.4 < (rows / columns).min() < 0.6
    assert 1.8 < (rows / columns).max() < 2.3
    # Even over the picture, by mirror image and up and down.
    heat = (erased > 0).mean(0)
    assert np.abs(heat - heat[::-1, ::-1]).max() < 0.04


def test_random_pixels_are_random_and_the_rest_stays(pictures):
    images = pictures(64, 32, 32)
    for kind in (np.uint8, np.float32):
        erased = RandomErasing(1.0, (0.3, 0.3))(images.astype(kind), uniform(0, 0, np.arange(64), 0)).numpy()
        assert erased.dtype == kind
        changed = (erased != images).any(-1)
        assert abs(changed.mean() - 0.3) < 0.01
        pixels = erased[changed].astype(float)
        assert abs(pixels.mean() - 127.5) < 1
        assert abs(pixels.std() - 73.9) < 1
        assert np.abs(np.corrcoef(pixels.T) - np.eye(3)).max() < 0.03
        assert len(np.unique(pixels, axis=0)) > 0.99 * len(pixels)
    never = RandomErasing(0.0)(images, uniform(0, 0, np.arange(64), 0))
    np.testing.assert_array_equal(never, images)


def test_cutout_is_a_square_around_a_random_pixel():
    n = 3000
    cut = Cutout(6, 50.0)(np.zeros((n, 20, 20, 3), np.uint8), uniform(0, 0, np.arange(n), 0)).numpy()[..., 0]
    assert set(np.unique(cut)) == {0, 50}
    rows, columns = cut.any(2).sum(1), cut.any(1).sum(1)
    # The centre is any pixel, so what sticks out is lost: 3 to 6 rows are left.
    assert set(rows) == set(columns) == {3, 4, 5, 6}
    assert abs((rows == 6).mean() - 15 / 20) < 0.04
    assert (Cutout(64)(np.zeros((1, 8, 8, 1)), uniform(0, 0, np.arange(1), 0)).numpy() == 128).all()
