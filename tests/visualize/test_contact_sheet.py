"""The sheet of predictions says what it was told."""

import numpy as np
import pytest
from support import pixels

from training.visualize.contact_sheet import MAX_IMAGES, SIDE, Sheet


def filled(count):
    sheet = Sheet()
    random = np.random.default_rng(0)
    for i in range(count):
        image = random.integers(0, 256, (700, 20 + 9 * i, 3 if i % 2 else 1), "uint8")
        sheet.add(image, f"a/folder/with/a/long/name/{i}.jpg", [(f"class $ {i}", 0.75), ("other", 0.25)])
    return sheet


@pytest.mark.parametrize("count", [1, MAX_IMAGES + 5])
def test_bars_captions_and_numbers(count):
    sheet = filled(count)
    figure = sheet.figure("net")
    shown = min(count, MAX_IMAGES)
    bars = [patch for axis in figure.axes for patch in axis.patches]
    assert [bar.get_width() for bar in bars] == [0.75, 0.25] * shown
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert texts[:4] == [r"class \$ 0", "75.0 %", "other", "25.0 %"]
    titles = [axis.get_title() for axis in figure.axes if axis.images]
    assert titles[0] == "...er/with/a/long/name/0.jpg"
    assert len(titles) == shown
    assert max(max(axis.images[0].get_array().shape) for axis in figure.axes if axis.images) <= SIDE
    note = figure.get_suptitle()
    assert ("the first 32 of 37 images" in note) == (count > MAX_IMAGES)
    assert pixels(figure).std() > 20


def test_nothing_to_show():
    with pytest.raises(ValueError, match="must have at least one image, got none"):
        Sheet().figure("net")
