"""Augmentation: pure functions of (seed, epoch, image), and of the pixels what the papers say."""

import itertools
import types

import numpy as np
import pytest

from keras_cnns.values import from_json, to_json
from training.data.augment import AUGMENTATIONS, Affine, Flip, InceptionCrop, PadCrop, ScaleCrop, drop_unsafe_flips
from training.data.colour import ColourJitter, PCANoise
from training.data.erasing import Cutout, RandomErasing
from training.data.policies import AutoAugment, RandAugment
from training.data.stateless_random import normal, random_bytes, uniform

PARTS = (
    *(PadCrop(), PadCrop(2, "reflect"), Flip(), InceptionCrop(), ScaleCrop(1.0, 2.0), Affine()),
    *(PCANoise(), ColourJitter(), AutoAugment(), AutoAugment("cifar"), RandAugment(3, 4.5)),
    *(RandomErasing(), RandomErasing(1.0, fill=7.0), Cutout(4)),
)


def constant(*values):
    """A `draw` with given numbers, the same for every image."""
    import tensorflow as tf

    return lambda k: tf.constant([values[k]], tf.float32)


def test_draws_are_uniform_and_independent():
    n = 20_000
    keys = list(itertools.product((0, 1, 2**32), (0, 1, 2), (0, 1), (0, 1, 2)))
    rows = np.array([uniform(s, e, np.arange(n), p)(k).numpy() for s, e, p, k in keys])
    assert rows.min() >= 0
    assert rows.max() < 1
    # Five standard errors of the mean, of a histogram's cell, and of a correlation of independent numbers.
    assert np.abs(rows.mean(1) - 0.5).max() < 5 * (1 / 12 / n) ** 0.5
    cells = np.array([np.histogram(row, 16, (0, 1))[0] for row in rows])
    assert np.abs(cells - n / 16).max() < 5 * (n / 16) ** 0.5
    between = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(between).max() < 5 / n**0.5
    neighbours = [np.corrcoef(row[:-lag], row[lag:])[0, 1] for row in rows for lag in (1, 2, 8)]
    assert np.abs(neighbours).max() < 5 / n**0.5


def test_normal_numbers_and_bytes_are_what_they_say():
    draw = uniform(0, 0, np.arange(100_000), 0)
    numbers = normal(draw(0), draw(1)).numpy()
    assert abs(numbers.mean()) < 0.02
    assert abs(numbers.std() - 1) < 0.02
    assert abs((np.abs(numbers) < 1).mean() - 0.6827) < 0.01
    levels = random_bytes(draw(2)[:1000, None], np.arange(100)).numpy()
    assert (levels.min(), levels.max()) == (0, 255)
    cells = np.histogram(levels, 16, (0, 256))[0]
    assert np.abs(cells - 100_000 / 16).max() < 5 * (100_000 / 16) ** 0.5
    for one, other in ((levels[:-1], levels[1:]), (levels[:, :-1], levels[:, 1:])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / 100_000**0.5


def test_draws_belong_to_the_image_not_to_the_batch():
    whole = uniform(7, 3, np.arange(100), 1)(2).numpy()
    assert uniform(7, 3, np.array([42, 5]), 1)(2).numpy().tolist() == [whole[42], whole[5]]
    assert float(uniform(7, np.int64(3), np.int64(42), 1)(2)) == whole[42]


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("part", PARTS)
def test_parts_keep_shape_and_treat_images_alone(part, channels, kind, pictures):
    images = pictures(16, 12, 10, channels).astype(kind)
    together = part(images, uniform(1, 0, np.arange(16), 0)).numpy()
    assert together.shape == images.shape
    for i in (0, 9):
        alone = part(images[i : i + 1], uniform(1, 0, np.array([i]), 0)).numpy()
        np.testing.assert_array_equal(alone[0], together[i])
    assert not np.array_equal(together, images)


@pytest.mark.parametrize("part", PARTS)
def test_parts_go_to_json_and_back(part):
    assert from_json(to_json(part), AUGMENTATIONS) == part


def test_pad_crop_is_a_shift(pictures):
    image = pictures(1)
    middle = PadCrop(4)(image, constant(0.5, 0.5)).numpy()
    np.testing.assert_array_equal(middle, image)
    corner = PadCrop(4)(image, constant(0.0, 0.999999)).numpy()
    np.testing.assert_array_equal(corner[0, 4:, :-4], image[0, :-4, 4:])
    assert not corner[0, :4].any()
    assert not corner[0, :, -4:].any()
    reflected = PadCrop(2, "reflect")(image, constant(0.0, 0.5)).numpy()
    np.testing.assert_array_equal(reflected[0, :2], image[0, 2:0:-1])


def test_flip_mirrors_half(pictures):
    images = pictures(400, 2, 4)
    flipped = Flip()(images, uniform(0, 0, np.arange(400), 0)).numpy()
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(flipped, images, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 160 < sum(mirrored) < 240


def test_windows_lie_inside_and_have_the_areas_asked_for():
    index = np.arange(5000)
    top, left, height, width = (
        InceptionCrop((0.25, 0.5), (0.8, 1.25)).window(100, 100, uniform(0, 0, index, 0)).numpy()
    )
    assert min(top.min(), left.min()) == 0
    assert max((top + height).max(), (left + width).max()) == 100
    share = height * width / 10_000
    assert 0.24 < share.min() < 0.26
    assert 0.49 < share.max() < 0.51
    assert abs(share.mean() - 0.375) < 0.01
    assert (width / height).min() > 0.78
    assert (width / height).max() < 1.28
    # A window larger than the image is cut to it.
    wide = InceptionCrop((1.0, 1.0), (4.0, 4.0)).window(100, 100, uniform(0, 0, index, 0)).numpy()
    assert set(wide[2]) == {50}
    assert set(wide[3]) == {100}


def test_scale_crops_are_squares_of_the_shorter_side(pictures):
    top, left, height, width = ScaleCrop(1.25, 2.0).window(100, 120, uniform(0, 0, np.arange(5000), 0)).numpy()
    np.testing.assert_array_equal(height, width)
    assert (height.min(), height.max()) == (50, 80)
    assert abs((100 / height).mean() - 1.625) < 0.01
    assert min(top.min(), left.min()) == 0
    assert (top + height).max() == 100
    assert (left + width).max() == 120
    image = pictures(1, 16, 16)
    np.testing.assert_array_equal(ScaleCrop(1.0, 1.0)(image, constant(0.5, 0.5, 0.5)), image)
    corner = ScaleCrop(2.0, 2.0).window(16, 16, constant(0.5, 0.999, 0.0)).numpy()
    assert corner[:, 0].tolist() == [8, 0, 8, 8]


def test_affine_without_motion_is_nothing_and_quarter_turn_is_one(pictures):
    image = pictures(1, 9, 9).astype(np.float32)
    still = Affine(0, 0, 0)(image, constant(0.3, 0.3, 0.3, 0.3)).numpy()
    np.testing.assert_allclose(still, image, atol=1e-3)
    turned = Affine(90, 0, 0)(image, constant(0.0, 0.5, 0.5, 0.5)).numpy()[0]
    # Half a pixel inside, where rounding cannot reach over the edge.
    turns = [np.rot90(image[0], k)[1:-1, 1:-1] for k in (1, 3)]
    assert any(np.allclose(turned[1:-1, 1:-1], t, atol=0.1) for t in turns)
    shifted = Affine(0, 0.5, 0)(image[:, :8, :8], constant(0.5, 0.75, 0.5, 0.5)).numpy()
    np.testing.assert_allclose(shifted[0, 2:], image[0, :6, :8], atol=1e-2)
    assert not shifted[0, :2].any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PadCrop(0), "PadCrop.pad must be int from 1 to 65536, got 0"),
        (lambda: PadCrop(4, "wrap"), "PadCrop.mode must be 'constant' or 'reflect', got 'wrap'"),
        (lambda: InceptionCrop((0.5, 0.1)), r"InceptionCrop.area must be \(low, high\), got \(0.5, 0.1\)"),
        (lambda: InceptionCrop((0.0, 1.0)), "InceptionCrop.area must be"),
        (lambda: ScaleCrop(2.0, 1.5), "ScaleCrop needs low <= high, got 2 and 1.5"),
        (lambda: ScaleCrop(0.9), "ScaleCrop.low must be float from 1 to 100, got 0.9"),
        (lambda: AutoAugment("svhn"), "AutoAugment.policy must be 'imagenet' or 'cifar', got 'svhn'"),
        (lambda: RandAugment(magnitude=11.0), "RandAugment.magnitude must be float from 0 to 10, got 11.0"),
        (lambda: RandomErasing(area=(0.4, 0.1)), r"RandomErasing.area must be \(low, high\), got \(0.4, 0.1\)"),
        (
            lambda: RandomErasing(fill="mean"),
            "RandomErasing.fill must be 'random' or float from 0 to 255, got 'mean'",
        ),
        (lambda: Cutout(0), "Cutout.side must be"),
        (lambda: ColourJitter(brightness=1.5), "ColourJitter.brightness must be"),
        (lambda: PCANoise(-1.0), "PCANoise.std must be"),
        (lambda: Affine(rotate=200.0), "Affine.rotate must be float from 0 to 180, got 200.0"),
        (lambda: Affine(zoom=1.0), "Affine.zoom must be"),
        (
            lambda: PadCrop(12, "reflect")(np.zeros((1, 8, 8, 1)), None),
            "reflects at most 7 pixels here, got pad=12",
        ),
    ],
)
def test_ranges(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_suit_takes_the_mirror_from_what_bears_none():
    parts = (PadCrop(), Flip(), AutoAugment())
    assert drop_unsafe_flips(parts, types.SimpleNamespace(name="photos", mirror=True)) == (parts, ())
    kept, notes = drop_unsafe_flips(parts, types.SimpleNamespace(name="digits", mirror=False))
    assert kept == (PadCrop(), AutoAugment())
    assert notes == ("images of digits are not mirrored: a mirror image may be of another class, or of none",)
