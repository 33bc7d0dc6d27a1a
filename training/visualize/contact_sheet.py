"""A contact sheet: images with their predicted classes, like figure 4 of Krizhevsky et al. (2012)."""

import math

from training.report.canvas import BLUE, blank, plain, short

COLUMNS = 4
MAX_IMAGES = 32
SIDE = 256  # pixels of an image in a sheet


class Sheet:
    """Collects up to 32 images with predictions and draws them.

    Attributes:
        count: images added, including those beyond the limit.
    """

    def __init__(self):
        self.items, self.count = [], 0

    def add(self, image, caption: str, answer: list[tuple[str, float]]) -> None:
        """Adds a uint8 image (height, width, 1 or 3) of any size and its (class, probability), best first."""
        self.count += 1
        if len(self.items) < MAX_IMAGES:
            by = -(-max(image.shape[:2]) // SIDE)
            self.items.append((image[::by, ::by].copy(), caption, answer))

    def figure(self, title: str):
        """Every image with its caption, and below it a bar for each of its classes; the full width is 100 %.

        Raises:
            ValueError: no image was added.
        """
        if not self.items:
            raise ValueError("a sheet must have at least one image, got none")
        note = "" if self.count == len(self.items) else f"\nthe first {len(self.items)} of {self.count:,} images"
        rows, columns = math.ceil(len(self.items) / COLUMNS), min(COLUMNS, len(self.items))
        bars = max(len(answer) for *_, answer in self.items)
        figure = blank(max(4.5, 2.3 * columns), (2.3 + 0.2 * bars) * rows + 0.7, plain(title) + note)
        axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[11.5, bars] * rows)
        for axis in axes.flat:
            axis.axis("off")
        for i, (image, caption, answer) in enumerate(self.items):
            row, column = 2 * (i // columns), i % columns
            axes[row, column].imshow(image, cmap="gray", vmin=0, vmax=255)
            axes[row, column].set_title(_end(caption, 28), fontsize=9)
            _bars(axes[row + 1, column], answer, bars)
        return figure


def _bars(axis, answer, most: int) -> None:
    places = range(len(answer))
    shares = [probability for _, probability in answer]
    axis.barh(places, shares, height=0.8, color=[BLUE, *["0.72"] * (len(answer) - 1)], alpha=0.55)
    for place, (label, probability) in zip(places, answer, strict=True):
        axis.text(0.02, place, short(label, 24), va="center", fontsize=8)
        axis.text(1.0, place, f"{100 * probability:.1f} %", va="center", ha="right", fontsize=8)
    axis.set(xlim=(0, 1), ylim=(most - 0.5, -0.5))


def _end(caption: str, length: int) -> str:
    """A caption shortened at its start: the end of a path says more."""
    return plain(caption if len(caption) <= length else f"...{caption[3 - length :]}")
