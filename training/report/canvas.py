"""Figures of matplotlib without pyplot: colours, empty figures, PNG files, text that fits."""

import importlib.util
import io

from training.report.folder import atomic

CAN = importlib.util.find_spec("matplotlib") is not None  # without it a run is trained, but not drawn
# Okabe and Ito's colours, which colour-blind people can tell apart.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
AMBER, SKY, YELLOW, GREY = "#E69F00", "#56B4E9", "#F0E442", "#767676"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, "#000000", GREY)


def blank(width: float, height: float, title: str):
    """An empty figure, inches, with its heading."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    return figure


def plain(text) -> str:
    """Text that matplotlib does not read as a formula."""
    return str(text).replace("$", r"\$")


def short(name, length: int) -> str:
    """A class name that fits: `a very long name` -> `a very lo...`."""
    name = str(name)
    return plain(name if len(name) <= length else name[: length - 3] + "...")


def save(figure, path):
    """Writes a figure as PNG, whole or not at all."""
    with atomic(path) as file:
        file.write(png_bytes(figure))


def png_bytes(figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    if figure.get_layout_engine() is not None:  # kept: a new layout would shift it by a pixel
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
