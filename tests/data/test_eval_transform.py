"""The view of a published evaluation: what torchvision and timm do with Pillow."""

import numpy as np
import pytest
from PIL import Image

from training.data.eval_transform import EvalTransform


def pillow(image, size, shorter, interpolation):
    """torchvision's Resize and CenterCrop on a Pillow image, from their documentation."""
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    height, width = image.shape[:2]
    if height <= width:
        sides = shorter, int(shorter * width / height)
    else:
        sides = int(shorter * height / width), shorter
    out = np.asarray(Image.fromarray(image).resize(sides[::-1], filters[interpolation]))
    top, left = (round((side - size) / 2.0) for side in sides)
    return out[top : top + size, left : left + size]


def photograph(height, width):
    """Waves of several lengths, so that filters and shifted pixels show."""
    y, x = np.mgrid[:height, :width] / 7.0
    waves = [np.sin(x * a + y * b) for a, b in ((1, 0.3), (0.2, 0.9), (2.1, 1.3))]
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
    return np.clip(128 + 90 * np.stack(waves, -1) + noise, 0, 255).astype("uint8")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (97, 81), (235, 235), (236, 301)])
@pytest.mark.parametrize(("size", "shorter"), [(224, 256), (224, 235), (160, 168), (128, 128)])
def test_as_pillow(interpolation, shape, size, shorter):
    image = photograph(*shape)
    got = EvalTransform(size, shorter, interpolation)(image[None])[0].numpy().astype(int)
    wanted = pillow(image, size, shorter, interpolation).astype(int)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= 2  # Pillow rounds after each direction
    assert np.abs(got - wanted).mean() < 0.4


def test_a_crop_is_no_larger_than_what_it_is_cut_from():
    with pytest.raises(ValueError, match="shorter must be at least the crop of 224 pixels, got 200"):
        EvalTransform(224, 200)
