"""Figures of a search: accuracy against cost with the Pareto front, and parallel coordinates."""

import numpy as np

from training.report.canvas import BLUE, GREY, ORANGE, blank, plain

UNITS = {"params": "parameters", "macs": "multiply-accumulates", "latency_ms": "latency (ms, batch 1, fused)"}
MAX_NAMED = 12


def pareto(trials, front, cost: str, title: str):
    """Validation top-1 of finished trials against a cost; the line is the front, cheapest first."""
    figure = blank(8, 5.5, plain(title))
    axis = figure.subplots()
    xs = [t.cost[cost] for t in trials]
    axis.scatter(xs, [100 * t.top1 for t in trials], color=GREY, s=24, label=f"trials ({len(trials)})", zorder=2)
    axis.plot(
        [t.cost[cost] for t in front], [100 * t.top1 for t in front], "o-", color=ORANGE, label="front", zorder=3
    )
    for t in front[:MAX_NAMED]:
        place = {"xytext": (6, -12), "textcoords": "offset points", "fontsize": 8}
        axis.annotate(t.folder.name, (t.cost[cost], 100 * t.top1), **place)
    if min(xs) > 0 and max(xs) > 3 * min(xs):
        axis.set_xscale("log")
    axis.margins(x=0.08, y=0.08)
    n = trials[0].result["val"]["n"]
    axis.set(xlabel=UNITS[cost], ylabel=f"validation top-1 (%, n={n})")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower right")
    return figure


def parallel(trials, names: list[str], title: str):
    """An axis for each dimension and one for validation top-1; a line for each finished trial, the best darkest.

    Numbers are ordered by size, words by the alphabet, evenly spaced.
    """
    from matplotlib.colors import to_rgb

    columns = [[t.chosen[name] for t in trials] for name in names]
    scales = [ordered(column) for column in columns]
    figure = blank(max(6, 1.7 * (len(names) + 1)), 5.5, plain(title))
    axis = figure.subplots()
    top = np.array([t.top1 for t in trials])
    low, high = top.min(), top.max()
    shade = (top - low) / (high - low) if high > low else np.full(len(top), 0.5)
    places = [[_at(scale, value) for value in column] for scale, column in zip(scales, columns, strict=True)]
    # Lines through the same points would hide each other: each is shifted a little.
    shifts = np.linspace(-0.012, 0.012, len(trials)) if len(trials) > 1 else [0.0]
    for i in np.argsort(shade):
        ys = [column[i] + shifts[i] for column in places] + [shade[i]]
        colour = tuple(1 - (1 - np.array(to_rgb(BLUE))) * (0.2 + 0.8 * shade[i]))
        axis.plot(range(len(ys)), ys, color=colour, linewidth=1 + 1.5 * shade[i], zorder=2 + shade[i])
    for x, scale in enumerate(scales):
        axis.axvline(x, color="black", linewidth=0.8)
        for value in scale if len(scale) <= 16 else (scale[0], scale[-1]):
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
            axis.text(x + 0.03, _at(scale, value), plain(value[:16]), fontsize=8, va="center", zorder=9, bbox=box)
    axis.axvline(len(names), color="black", linewidth=0.8)
    for place, value in ((0.0, low), (1.0, high)):
        axis.text(len(names) + 0.03, place, f"{100 * value:.1f} %", fontsize=8, va="center")
    labels = [*map(plain, names), f"val top-1\n(n={trials[0].result['val']['n']})"]
    axis.set_xticks(range(len(labels)), labels)
    axis.set(yticks=[], xlim=(-0.15, len(names) + 0.45), ylim=(-0.08, 1.08))
    axis.spines[:].set_visible(False)
    return figure


def ordered(values) -> list[str]:
    """The values, each once: numbers by size, then words.

    >>> ordered(["16", "4", "se", "4", "0.5"])
    ['0.5', '4', '16', 'se']
    """

    def key(value: str):
        try:
            return (0, float(value), value)
        except ValueError:
            return (1, 0.0, value)

    return sorted(set(values), key=key)


def _at(scale: list[str], value: str) -> float:
    return scale.index(value) / (len(scale) - 1) if len(scale) > 1 else 0.5
