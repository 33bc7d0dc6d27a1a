"""Figures of experiments: curves with a band, points with error bars, bars, lines."""

from statistics import fmean

import numpy as np

from training.experiments.definition import ExperimentResults
from training.report.canvas import COLOURS, blank, plain
from training.report.evaluation import spread

SIGNS = "os^D"  # markers, where there are more names than colours
# A column of the history, its name, and the style of its line, its point and its colour.
KINDS = (("top1", "training", "--", "none", 0.6), ("val_top1", "validation", "-", "full", 1.0))
LEAST = 0.05  # per cent: the place of an error of zero on a logarithmic axis


def curves(outcome: ExperimentResults, panels: dict[str, list[str]], title: str):
    """Error against the epoch: training dashed, validation solid, with a band from the best seed to the worst.

    Runs of one epoch are points side by side, training hollow, validation filled, with a bar from the best seed to
    the worst.

    Args:
        panels: title of each panel -> the trials in it.
    """
    drawn = [label for labels in panels.values() for label in labels]
    long = any(len(run.history) > 1 for label in drawn for run in outcome.whole(label))
    kinds = "training dashed, validation solid" if long else "training hollow, validation filled"
    figure = blank(6 * len(panels), 4.6, plain(f"{title}: {kinds}"))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (name, labels) in zip(axes, panels.items(), strict=True):
        for place, (label, colour) in enumerate(zip(labels, COLOURS, strict=False)):
            histories = [run.history for run in outcome.whole(label)]
            if not histories:
                continue
            epochs = [row["epoch"] for row in min(histories, key=len)]
            for i, (column, kind, style, fill, alpha) in enumerate(KINDS):
                errors = [[100 * (1 - row[column]) for row in history[: len(epochs)]] for history in histories]
                errors = np.maximum(errors, LEAST)
                named = {"color": colour, "alpha": alpha, "label": f"{label}, {kind}"}
                middle, best, worst = errors.mean(0), errors.min(0), errors.max(0)
                if len(epochs) == 1:
                    x = 1 + 0.02 * (2 * place + i - len(labels))
                    ends = np.abs([middle - best, worst - middle])
                    axis.errorbar(x, middle, yerr=ends, fmt="o", fillstyle=fill, capsize=3, **named)
                    continue
                axis.plot(epochs, middle, style, **named)
                if len(errors) > 1:
                    axis.fill_between(epochs, best, worst, color=colour, alpha=0.12, linewidth=0)
        axis.set(title=plain(name), xlabel="epoch", ylabel="error (%)", yscale="log")
        axis.xaxis.get_major_locator().set_params(integer=True)
        if not long:
            axis.set(xlim=(0.75, 1.25), xticks=[1])
        _in_numbers(axis)
        axis.legend(frameon=False, fontsize=8)
    axes[0].set_ylim(bottom=max(LEAST, axes[0].get_ylim()[0]))  # the panels share it
    return figure


def _in_numbers(axis) -> None:
    """Labels a logarithmic axis with plain numbers: all of them over a short range, else 1, 2, 3 and 5."""

    def between(value, _):
        low, high = axis.get_ylim()
        return f"{value:g}" if high < 4 * low or f"{value:e}"[:3] in ("2.0", "3.0", "5.0") else ""

    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_formatter(between)
    axis.grid(alpha=0.3, which="both")


def bars(groups: dict[str, dict[str, list[float]]], title: str, ylabel: str):
    """Bars with the standard deviation and a point for each seed.

    Args:
        groups: name of a colour -> name under the bar -> values of all seeds.
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
            axis.bar(x, fmean(each), width, yerr=spread(each), color=colour, alpha=0.75, capsize=3, label=label)
            axis.plot([x] * len(each), each, "k.", markersize=4)
    turned = {"rotation": 25, "ha": "right"} if len(names) > 4 else {}
    axis.set_xticks(range(len(names)), names, **turned)
    axis.set(ylabel=ylabel)
    axis.grid(alpha=0.3, axis="y")
    if len(groups) > 1:
        axis.legend(frameon=False)
    return figure


def points(panels: dict[str, dict[str, tuple[float, list[float]]]], title: str, ylabel: str, line=None):
    """Errors with error bars against a quantity, both logarithmic; a name has one marker in all panels.

    Args:
        panels: label of the x axis -> name -> (x, values of all seeds).
        line: text and height of a horizontal line to compare with.
    """
    figure = blank(4.6 * len(panels) + 2.2, 5, plain(title))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (xlabel, found) in zip(axes, panels.items(), strict=True):
        for i, (name, (x, values)) in enumerate(found.items()):
            colour, sign = COLOURS[i % len(COLOURS)], SIGNS[i // len(COLOURS) % len(SIGNS)]
            middle = max(fmean(values), LEAST)
            ends = [[min(spread(values), middle - LEAST)], [spread(values)]]
            axis.errorbar(x, middle, yerr=ends, capsize=3, markersize=7, color=colour, fmt=sign, label=name)
        if line:
            axis.axhline(line[1], color=COLOURS[-1], linestyle="--", label=line[0])
        axis.set(xlabel=xlabel, xscale="log", yscale="log")
        _in_numbers(axis)
    axes[0].set(ylabel=ylabel)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9)
    return figure


def lines(found: dict[str, dict[str, list]], panels: dict[str, str], title: str, xlabel: str, ylabel: str):
    """Values against their numbers, from 1.

    Args:
        found: name of a line -> what was measured -> values.
        panels: what was measured -> title of its panel.
    """
    figure = blank(5.6 * len(panels), 4.4, plain(title))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (what, name) in zip(axes, panels.items(), strict=True):
        for (label, values), colour in zip(found.items(), COLOURS, strict=False):
            y = values[what]
            axis.plot(range(1, len(y) + 1), y, marker="o", markersize=4, color=colour, label=label)
        axis.set(title=plain(name), xlabel=xlabel, ylabel=ylabel)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=8)
    return figure
