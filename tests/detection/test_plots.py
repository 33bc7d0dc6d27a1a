"""Boxes are drawn on the pixels that they enclose."""

import numpy as np

from training.detection import plots
from training.detection.metrics import Detections


def test_a_box_lies_on_the_edges_of_its_pixels():
    """A box from 2 to 5 encloses the pixels 2, 3 and 4, which matplotlib draws from 1.5 to 4.5."""
    found = Detections(np.array([[2.0, 3.0, 5.0, 7.0]]), np.array([0.75]), np.array([1]))
    figure = plots.alone(np.zeros((10, 10, 3), np.uint8), found, ("cat", "dog"))
    (axis,) = figure.axes
    (box,) = axis.patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((1.5, 2.5), 3.0, 4.0)
    assert [text.get_text() for text in axis.texts] == ["dog 0.75"]


def test_a_true_box_has_no_score():
    true = Detections(np.array([[2.0, 3.0, 5.0, 7.0]]), np.array([np.inf]), np.array([0]))
    figure = plots.sheet([np.zeros((10, 10, 3), np.uint8)], [true], ("cat", "dog"), "title")
    assert [text.get_text() for axis in figure.axes for text in axis.texts] == ["cat"]
