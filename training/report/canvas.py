"""Figures of matplotlib without pyplot: empty ones, as PNG files, and text that fits into them."""

import io

import numpy as np

from training.report.folder import atomic


def blank(width: float, height: float, title: str):
    """An empty figure, inches, with its heading."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    return figure


def settle(figure):
    """Lay a figure out for good: each new layout would shift it by a pixel, and two copies would differ."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def plain(text) -> str:
    """Text in which matplotlib finds no formula."""
    return str(text).replace("$", r"\$")


def short(name, length: int) -> str:
    """A class name that fits: `a very long name` -> `a very lo...`."""
    name = str(name)
    return plain(name if len(name) <= length else name[: length - 3] + "...")


def save(figure, path):
    """Write a figure as PNG, whole or not at all."""
    png = png_bytes(figure)
    with atomic(path) as file:
        file.write(png)


def png_bytes(figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    settle(figure)
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def png_array(figure) -> np.ndarray:
    """A figure as uint8 pixels of shape (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    settle(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
