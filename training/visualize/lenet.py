"""The figure of LeNet-5 layer by layer, after section II of LeCun et al. (1998)."""

import numpy as np

from training.report.canvas import BLUE, ORANGE, blank, plain
from training.report.pictures import mosaic

GLYPH = (12, 7)  # rows, columns of the 84 units of F6


def walk(image, maps: dict, penalties, codes, table, title: str):
    """All maps of an image, F6 as a 7x12 bitmap, the penalty of every class above its code, and the table of C3.

    Args:
        image: (height, width), the network's input.
        maps: C1, S2, C3, S4 as (height, width, channels), C5 and F6 as vectors.
        penalties: one per class; the smallest is the prediction.
        codes: (classes, 84) of -1 and +1.
        table: for each map of C3 the maps of S2 that it is connected to.
    """
    figure = blank(13, 10.5, plain(title))
    grid = figure.add_gridspec(4, 10, height_ratios=[3, 3, 2.2, 2.2])
    _show(figure.add_subplot(grid[0, 0:2]), image, "input 32 x 32", "gray")
    for place, name, columns in ((grid[0, 2:5], "C1", 3), (grid[0, 5:7], "S2", 2), (grid[0, 7:10], "C3", 4)):
        _maps(figure.add_subplot(place), name, maps[name], columns)
    _maps(figure.add_subplot(grid[1, 0:3]), "S4", maps["S4"], 4)
    _show(figure.add_subplot(grid[1, 3:6]), np.reshape(maps["C5"], (10, 12)), "C5: 120 units", "gray")
    _show(figure.add_subplot(grid[1, 6:8]), np.reshape(maps["F6"], GLYPH), "F6: 84 units, 7 x 12", "gray_r", 1.7)
    _connections(figure.add_subplot(grid[1, 8:10]), table, maps["S2"].shape[-1])
    answer = int(np.argmin(penalties))
    bars = figure.add_subplot(grid[2, :])
    colours = [ORANGE if k == answer else BLUE for k in range(len(penalties))]
    drawn = bars.bar(range(len(penalties)), penalties, color=colours)
    bars.bar_label(drawn, [f"{p:.1f}" for p in penalties], fontsize=8)
    bars.set(xticks=range(len(penalties)), xlim=(-0.5, len(penalties) - 0.5), ylabel="RBF penalty")
    bars.set_title(f"the least penalty is the answer: {answer}", fontsize=9)
    bars.spines[["top", "right"]].set_visible(False)
    shown = min(len(codes), 10)
    for k in range(shown):
        _show(figure.add_subplot(grid[3, k]), np.reshape(codes[k], GLYPH), f"code of {k}", "gray_r", 1)
    return figure


def _show(axis, picture, title: str, colours: str, most: float | None = None) -> None:
    axis.imshow(picture, cmap=colours, interpolation="nearest", vmin=most and -most, vmax=most)
    axis.set_title(title, fontsize=9)
    axis.set(xticks=[], yticks=[])


def _maps(axis, name: str, maps, columns: int) -> None:
    """All maps of a layer on one scale, -1.7 to 1.7, the range of the scaled tanh."""
    tiles = maps.transpose(2, 0, 1)[..., None]
    title = f"{name}: {maps.shape[2]} maps {maps.shape[0]} x {maps.shape[1]}"
    _show(axis, mosaic(tiles, columns, background=1.7)[..., 0], title, "gray", 1.7)
    axis.axis("off")


def _connections(axis, table, maps: int) -> None:
    """Rows are maps of S2, columns maps of C3, as in table I."""
    seen = np.zeros((maps, len(table)))
    for column, rows in enumerate(table):
        seen[list(rows), column] = 1
    axis.imshow(seen, cmap="Greys", vmin=0, vmax=1.4, interpolation="nearest")
    axis.set_xticks(range(len(table)), range(len(table)), fontsize=6)
    axis.set_yticks(range(maps), range(maps), fontsize=6)
    axis.set(xlabel="map of C3", ylabel="map of S2")
    axis.set_title(f"table of C3: {int(seen.sum())} kernels", fontsize=9)
