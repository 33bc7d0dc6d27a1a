"""Drawings that experiments share: curves with a band, points with error bars, bars. Figures without pyplot."""

import numpy as np

from training.experiments.value import Outcome, mean, spread
from training.report.canvas import blank, plain

# Okabe and Ito's colours, which colour-blind people can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#767676")

LEAST = 0.05  # per cent: where an error of nothing stands on a logarithmic axis


def curves(outcome: Outcome, panels: dict[str, list[str]], title: str):
    """Error against the epoch: training dashed, validation solid, the band from the best seed to the worst.

    Args:
        panels: title of each panel -> the trials in it.
    """
    figure = blank(6 * len(panels), 4.6, plain(title))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (name, labels) in zip(axes, panels.items(), strict=True):
        for label, colour in zip(labels, COLOURS, strict=False):
            if not outcome.whole(label):
                continue
            for column, style, alpha in (("top1", "--", 0.6), ("val_top1", "-", 1.0)):
                epochs, errors = _errors(outcome, label, column)
                kind = "training" if column == "top1" else "validation"
                axis.plot(epochs, errors.mean(0), style, color=colour, alpha=alpha, label=f"{label}, {kind}")
                if len(errors) > 1:
                    axis.fill_between(epochs, errors.min(0), errors.max(0), color=colour, alpha=0.12, linewidth=0)
        axis.set(title=plain(name), xlabel="epoch", ylabel="error (%)", yscale="log")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "235" else "")
        axis.grid(alpha=0.3, which="both")
        axis.legend(frameon=False, fontsize=8)
    axes[0].set_ylim(bottom=max(LEAST, axes[0].get_ylim()[0]))  # the panels share it
    return figure


def _errors(outcome: Outcome, label: str, column: str):
    rows = [run.history for run in outcome.whole(label)]
    shortest = min(map(len, rows))
    errors = [[max(100 * (1 - row[column]), LEAST) for row in history[:shortest]] for history in rows]
    return [row["epoch"] for row in rows[0][:shortest]], np.array(errors)


def bars(groups: dict[str, dict[str, list[float]]], title: str, ylabel: str):
    """Bars with the standard deviation and every seed's point.

    Args:
        groups: what a colour stands for -> name under the bar -> values of all seeds.
    """
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    figure = blank(max(6, 1.1 * len(names) * max(1, len(groups) / 2) + 2), 4.8, plain(title))
    axis = figure.subplots()
    width = 0.8 / len(groups)
    for i, ((group, values), colour) in enumerate(zip(groups.items(), COLOURS, strict=False)):
        for name, each in values.items():
            if not each:
                continue
            x = names.index(name) + (i - (len(groups) - 1) / 2) * width
            label = group if name == next(n for n, some in values.items() if some) else None
            axis.bar(x, mean(each), width, yerr=spread(each), color=colour, alpha=0.75, capsize=3, label=label)
            axis.plot([x] * len(each), each, "k.", markersize=4)
    axis.set_xticks(
        range(len(names)), names, rotation=25 if len(names) > 4 else 0, ha="right" if len(names) > 4 else "center"
    )
    axis.set(ylabel=ylabel)
    axis.grid(alpha=0.3, axis="y")
    if len(groups) > 1:
        axis.legend(frameon=False)
    return figure


def points(panels: dict[str, dict[str, tuple[float, list[float]]]], title: str, ylabel: str, line=None):
    """Values with error bars against a quantity on a logarithmic axis, each with its name.

    Args:
        panels: label of the x axis -> name -> (x, values of all seeds).
        line: text and height of a horizontal line to compare with.
    """
    figure = blank(5.4 * len(panels), 5, plain(title))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (xlabel, found) in zip(axes, panels.items(), strict=True):
        for i, (name, (x, values)) in enumerate(found.items()):
            colour = COLOURS[i % len(COLOURS)]
            axis.errorbar(x, mean(values), yerr=spread(values), fmt="o", color=colour, capsize=3)
            axis.annotate(
                name, (x, mean(values)), xytext=(5, 4), textcoords="offset points", fontsize=8, color=colour
            )
        if line:
            axis.axhline(line[1], color=COLOURS[-1], linestyle="--", label=line[0])
            axis.legend(frameon=False)
        axis.set(xlabel=xlabel, ylabel=ylabel, xscale="log")
        axis.margins(x=0.15)
        axis.grid(alpha=0.3, which="both")
    return figure


def lines(panels: dict[str, dict[str, tuple[list, list]]], title: str, xlabel: str, ylabel: str):
    """Plain lines: title of each panel -> name -> (x, y)."""
    figure = blank(5.6 * len(panels), 4.4, plain(title))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (name, found) in zip(axes, panels.items(), strict=True):
        for (label, (x, y)), colour in zip(found.items(), COLOURS, strict=False):
            axis.plot(x, y, marker="o", markersize=4, color=colour, label=label)
        axis.set(title=plain(name), xlabel=xlabel, ylabel=ylabel)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=8)
    return figure
