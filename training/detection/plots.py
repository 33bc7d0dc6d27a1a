"""Figures of detection: boxes on images, and the curves of a run."""

import math

import numpy as np

from keras_cnns.detection import LOSSES
from training.detection.metrics import Detections
from training.report.canvas import AMBER, BLUE, GREEN, ORANGE, PURPLE, SKY, YELLOW, blank, plain, short

COLOURS = (AMBER, SKY, GREEN, YELLOW, BLUE, ORANGE, PURPLE, "#FFFFFF")
COLUMNS = 4
MIN_SCORE = 0.5  # of the boxes drawn on a sheet


def draw(axis, image: np.ndarray, found: Detections, classes) -> None:
    """Draws an image and its boxes, each with its class and, unless it is infinite, its score."""
    from matplotlib.patches import Rectangle

    axis.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=255)
    axis.set_axis_off()
    for box, score, label in zip(found.boxes, found.scores, found.classes, strict=True):
        colour = COLOURS[int(label) % len(COLOURS)]
        x1, y1, x2, y2 = (float(side) - 0.5 for side in box)  # the first pixel is drawn from -0.5 to 0.5
        text = short(classes[int(label)], 16) + (f" {score:.2f}" if np.isfinite(score) else "")
        axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.5))
        axis.text(
            *(x1, max(y1, image.shape[0] / 20)),  # inside the image
            text,
            fontsize=7,
            color="black",
            va="bottom",
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8},
            clip_on=True,
        )


def sheet(images: list, found: list[Detections], classes, title: str):
    """Images with the detections whose score is at least `MIN_SCORE`."""
    columns = min(COLUMNS, len(images))
    lines = math.ceil(len(images) / columns)
    figure = blank(3.0 * columns, 3.0 * lines + 0.5, plain(title))
    axes = np.ravel(figure.subplots(lines, columns, squeeze=False))
    for axis in axes:
        axis.set_axis_off()
    for axis, image, one in zip(axes, images, found, strict=False):
        draw(axis, image, one.above(MIN_SCORE), classes)
    return figure


def alone(image: np.ndarray, found: Detections, classes):
    """One image with its detections, at its own size or larger."""
    height, width = image.shape[:2]
    scale = max(480 / min(height, width), 1) / 110
    figure = blank(width * scale, height * scale, "")
    draw(figure.subplots(), image, found, classes)
    return figure


def curves(rows, title: str):
    """The four losses and the validation split's average precision against the epoch."""
    figure = blank(10, 4.5, plain(title))
    left, right = figure.subplots(1, 2)
    epochs = [r["epoch"] for r in rows]
    for name in LOSSES:
        left.plot(epochs, [r[name] for r in rows], label=name.replace("_", " "))
    left.set(xlabel="epoch", ylabel="loss", title="Losses (lower is better)", yscale="log")
    for name, label in (("val_ap50", "AP50 (VOC)"), ("val_ap", "AP (COCO)")):
        points = [(r["epoch"], r[name]) for r in rows if r[name] is not None]
        if points:
            right.plot(*zip(*points, strict=True), marker="o", markersize=4, label=label)
    right.set(xlabel="epoch", ylabel="average precision", title="Validation (higher is better)", ylim=(0, 1))
    for axis in (left, right):
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(loc="best")
    return figure
