"""Figures of `explain.py`: Grad-CAM, feature maps, dense class maps, similar images, features in the plane."""

import math

import numpy as np

from training.report.canvas import BLUE, ORANGE, blank, plain, short
from training.report.pictures import mosaic

MAX_MAPS = 64
MAX_COLOURS = 20  # classes drawn in a scatter plot


def overlays(images, heats, captions, title: str):
    """Each image, and beside it the same image under its heat map; red is evidence for the class.

    Args:
        images: uint8 (height, width, 3) each, as cropped for the network.
        heats: (height, width) each, from 0 to 1.
        captions: one line for each.
    """
    columns = min(4, len(images))
    rows = math.ceil(len(images) / columns)
    figure = blank(2 * 1.7 * columns, 1.95 * rows + 0.6, plain(title))
    axes = _subplots(figure, rows, 2 * columns)
    for i, (image, heat, caption) in enumerate(zip(images, heats, captions, strict=True)):
        row, column = i // columns, 2 * (i % columns)
        axes[row, column].imshow(image)
        axes[row, column].set_title(plain(caption), fontsize=8, loc="left")
        axes[row, column + 1].imshow(image)
        axes[row, column + 1].imshow(heat, cmap="jet", alpha=0.5, vmin=0, vmax=1)
    return figure


def feature_maps(image, maps: dict, title: str):
    """One image and its feature maps at several layers, up to 64 channels each; each map has a scale of its own.

    Args:
        image: uint8 (height, width, 3 or 1).
        maps: name -> (height, width, channels).
    """
    columns = min(4, len(maps) + 1)
    rows = math.ceil((len(maps) + 1) / columns)
    figure = blank(3 * columns, 3.3 * rows + 0.6, plain(title))
    axes = _subplots(figure, rows, columns).flat
    axes[0].imshow(image, cmap="gray")
    axes[0].set_title("image", fontsize=9)
    for axis, (name, x) in zip(axes[1:], maps.items(), strict=False):
        shown = x[..., :MAX_MAPS].transpose(2, 0, 1)[..., None]
        low, high = shown.min((1, 2), keepdims=True), shown.max((1, 2), keepdims=True)
        tiles = (shown - low) / np.maximum(high - low, 1e-12)
        picture = mosaic(tiles, math.ceil(math.sqrt(len(tiles))), background=np.nan)[..., 0]
        axis.imshow(picture, cmap="viridis", interpolation="nearest")
        more = "" if x.shape[-1] == len(tiles) else f", {len(tiles)} of {x.shape[-1]}"
        axis.set_title(plain(f"{name}: {x.shape[0]} x {x.shape[1]}{more}"), fontsize=9)
    return figure


def class_map(photo, scores, window: int, classes, title: str):
    """A photograph, and the probability of its most probable classes at every position.

    A probability is drawn at the centre of its window, so a margin of half a window stays free.

    Args:
        photo: uint8 (height, width, 3).
        scores: probabilities, (rows, columns, classes), one row and column for each position of the window.
        window: side of the window in pixels.
        classes: names of the classes.
    """
    best = np.argsort(-scores.mean((0, 1)), kind="stable")[:3]
    ratio = photo.shape[0] / photo.shape[1]
    figure = blank(3.4 * (1 + len(best)), 3.4 * ratio + 1.2, plain(title))
    axes = _subplots(figure, 1, 1 + len(best))[0]
    axes[0].imshow(photo)
    axes[0].set_title(f"{scores.shape[1]} x {scores.shape[0]} places", fontsize=9)
    (top, bottom), (left, right) = (_middle(photo.shape[i], scores.shape[i], window) for i in (0, 1))
    for axis, k in zip(axes[1:], best, strict=True):
        axis.imshow(photo)
        heat = axis.imshow(
            scores[..., k], cmap="jet", alpha=0.5, vmin=0, vmax=1, extent=(left, right, bottom, top)
        )
        axis.set(xlim=(-0.5, photo.shape[1] - 0.5), ylim=(photo.shape[0] - 0.5, -0.5))
        axis.set_title(f"{short(classes[k], 24)}: mean {scores[..., k].mean():.2f}", fontsize=9)
    figure.colorbar(heat, ax=axes, shrink=0.8, label="probability")
    return figure


def _middle(pixels: int, places: int, window: int) -> tuple[float, float]:
    """Start and end, along one side of a photograph, of the cells of all window positions."""
    stride = (pixels - window) / max(places - 1, 1) or window
    return (window - stride) / 2 - 0.5, pixels - (window - stride) / 2 - 0.5


def neighbours(queries, query_labels, found: dict, images, labels, classes, title: str):
    """Queries in the first column, and beside them the nearest images by each method.

    A blue frame means the query's class, an orange one another class, whose name is printed.

    Args:
        queries, images: uint8 (q, h, w, c) and (n, h, w, c); `query_labels` and `labels` are their classes.
        found: name of a method -> indices (q, k).
    """
    k = min(5, *(indices.shape[1] for indices in found.values()))
    columns = 1 + len(found) * (1 + k)  # an empty one before each method
    figure = blank(0.95 * columns + 0.6, 1.05 * len(queries) + 1.3, plain(title))
    ratios = [1.0, *([0.3] + [1.0] * k) * len(found)]
    grid = figure.subplots(len(queries), columns, squeeze=False, width_ratios=ratios)
    for axis in grid.flat:
        axis.set(xticks=[], yticks=[])
    for axis in grid[:, 1 :: 1 + k].flat:
        axis.axis("off")
    for row, query in enumerate(queries):
        grid[row, 0].imshow(query, cmap="gray")
        grid[row, 0].set_ylabel(short(classes[query_labels[row]], 12), fontsize=8)
        for method, (name, indices) in enumerate(found.items()):
            for rank, i in enumerate(indices[row, :k]):
                axis = grid[row, 2 + method * (1 + k) + rank]
                axis.imshow(images[i], cmap="gray")
                correct = labels[i] == query_labels[row]
                for spine in axis.spines.values():
                    spine.set(color=BLUE if correct else ORANGE, linewidth=2.5)
                if not correct:
                    axis.set_xlabel(short(classes[labels[i]], 11), fontsize=7, labelpad=1)
                if row == 0 and rank == k // 2:
                    axis.set_title(plain(name), fontsize=9)
    grid[0, 0].set_title("query", fontsize=9)
    return figure


def scatter(points: dict, labels, classes, title: str):
    """Images as points in the plane, coloured by class; one axis for each projection.

    Args:
        points: name of a projection -> (n, 2).
    """
    from matplotlib import colormaps

    figure = blank(5.2 * len(points) + 1.8, 5.4, plain(title))
    axes = figure.subplots(1, len(points), squeeze=False)[0]
    colours = colormaps["tab20" if len(classes) > 10 else "tab10"]
    for axis, (name, xy) in zip(axes, points.items(), strict=True):
        for k in range(min(len(classes), MAX_COLOURS)):
            own = xy[np.asarray(labels) == k]
            axis.scatter(*own.T, s=8, color=colours(k), label=short(classes[k], 14), alpha=0.7, linewidths=0)
            if len(own):
                axis.annotate(short(classes[k], 8), np.median(own, axis=0), ha="center", fontsize=8, weight="bold")
        axis.set(xticks=[], yticks=[], title=plain(name))
    axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False, markerscale=2)
    return figure


def towers(kernels, saturations, title: str):
    """The first filters of two towers, and beside each tower a histogram of its filters' colour saturation.

    Args:
        kernels: two arrays (height, width, 3, filters).
        saturations: for each tower the saturation of every filter, from 0 to 1.
    """
    largest = max(np.abs(k).max() for k in kernels) or 1.0
    figure = blank(11, 6.4, plain(title))
    axes = figure.subplots(2, 2, width_ratios=[3, 1])
    for i, (kernel, saturation) in enumerate(zip(kernels, saturations, strict=True)):
        tiles = (0.5 + kernel / (2 * largest)).transpose(3, 0, 1, 2)
        axes[i, 0].imshow(mosaic(tiles, min(16, len(tiles))), interpolation="nearest")
        axes[i, 0].set(xticks=[], yticks=[], ylabel=f"tower {i + 1}")
        axes[i, 0].spines[:].set_visible(False)
        axes[i, 1].hist(saturation, bins=np.linspace(0, 1, 21), color=BLUE if i == 0 else ORANGE)
        axes[i, 1].set(title=f"mean saturation {saturation.mean():.3f} ({len(saturation)} filters)", xlim=(0, 1))
        axes[i, 1].title.set_fontsize(9)
    axes[1, 1].set_xlabel("colour saturation of a filter: 0 grey")
    return figure


def _subplots(figure, rows: int, columns: int):
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    return axes
