"""Small image folders and data sets for the tests of the data package."""

import numpy as np
import pytest


@pytest.fixture
def pictures():
    """n random uint8 images, smooth enough that resizing means something."""

    def make(n, height=12, width=12, channels=3, seed=0):
        noise = np.random.RandomState(seed).randint(0, 256, (n, height, width, channels))
        return ((noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2)) // 3).astype(np.uint8)

    return make


@pytest.fixture
def save():
    """Writes one image file; the suffix says the format."""

    def write(path, image):
        from PIL import Image

        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        return path

    return write


@pytest.fixture
def photo_folder(tmp_path, pictures, save):
    """DIR/{cat,dog}/*.png with `n` images each; sizes differ when `ragged`."""

    def make(n=10, name="photos", ragged=0, suffix="png"):
        for label, kind in enumerate(("cat", "dog")):
            for i in range(n):
                image = pictures(1, 12 + ragged * (i % 3), 12 + ragged * (i % 2), seed=100 * label + i)[0]
                save(tmp_path / name / kind / f"{i:03}.{suffix}", image)
        return tmp_path / name

    return make
