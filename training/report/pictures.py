"""Pictures of a run: curves, confusion matrix, input images, filters of the first layer.

Every function returns a new matplotlib Figure, without pyplot: nothing is global, and no display is needed.
"""

import math

import numpy as np

from training.report.canvas import BLUE, GREEN, ORANGE, blank, plain, short

MAX_IMAGES = 64
MAX_SLICES = 32
FEW_CLASSES = 20
TICKS = 30


# --- curves -----------------------------------------------------------------------------------------------------


def curves(rows, title: str):
    """Loss, top-1 accuracy and learning rate against the epoch.

    Args:
        rows: those of `History`, at least one; validation may be None.
    """
    from matplotlib.ticker import MaxNLocator

    figure = blank(10, 6, plain(title))
    axes = figure.subplot_mosaic([["loss", "top1"], ["rate", "rate"]], height_ratios=[3, 1])
    _pair(axes["loss"], rows, "loss", 1, min)
    _pair(axes["top1"], rows, "top1", 100, max)
    axes["loss"].set(title="Loss (lower is better)", ylabel="loss")
    axes["top1"].set(title="Accuracy (higher is better)", ylabel="top-1 accuracy (%)")
    _rate(axes["rate"], rows)
    for axis in axes.values():
        axis.set(xlabel="epoch", xlim=(rows[0]["epoch"] - 0.5, rows[-1]["epoch"] + 0.5))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def rate_sweep(rates, losses, smooth, suggested: float, title: str):
    """Loss against the learning rate of a sweep, on a logarithmic axis, with the suggested rate marked.

    Args:
        rates, losses, smooth: rate, loss and smoothed loss of each step.
    """
    figure = blank(8, 5, plain(title))
    axis = figure.subplots()
    axis.plot(rates, losses, color="0.75", linewidth=1, label="loss of a batch")
    axis.plot(rates, smooth, linewidth=2, label="smoothed")
    axis.axvline(suggested, color="tab:red", linestyle="--", label=f"suggested: {suggested:.2g}")
    low, high = min(smooth), max(smooth[: max(1, len(smooth) // 2)])
    axis.set_ylim(low - 0.1 * (high - low + 1e-6), high + 0.5 * (high - low + 1e-6))
    axis.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def _pair(axis, rows, name, scale, best):
    """Training and validation of one figure, with the best validation marked."""
    for column, label, colour in ((name, "training", BLUE), (f"val_{name}", "validation", ORANGE)):
        points = [(r["epoch"], scale * r[column]) for r in rows if r.get(column) is not None]
        points = [p for p in points if math.isfinite(p[1])]
        if not points:
            continue
        marker = "o" if len(rows) <= 30 else None
        axis.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, label=label)
        if label == "validation":
            epoch, value = best(points, key=lambda p: p[1])
            text = f"best validation: {value:.3g} (epoch {epoch})" if scale == 1 else None
            text = text or f"best validation: {value:.1f} % (epoch {epoch})"
            star = {"markerfacecolor": ORANGE, "markeredgecolor": "black", "linestyle": "none"}
            axis.plot(epoch, value, marker="*", markersize=13, label=text, zorder=3, **star)
    if axis.lines:
        axis.legend(frameon=False)


def _rate(axis, rows):
    rates = [r["rate"] for r in rows]
    axis.step([r["epoch"] for r in rows], rates, where="mid", color=GREEN, marker="o" if len(rows) == 1 else None)
    axis.set(title="Learning rate", ylabel="rate")
    positive = [r for r in rates if r > 0]
    if positive and max(positive) > 10 * min(positive):
        axis.set_yscale("log", nonpositive="mask")
        axis.set_ylabel("rate (log scale)")
    elif positive:
        axis.set_ylim(0, 1.15 * max(positive))


# --- confusion matrix -------------------------------------------------------------------------------------------


def confusion_matrix(matrix, classes, title: str):
    """True classes in rows, predicted classes in columns; the colour is the fraction of the row, the text a count.

    On the right stands the accuracy of each class. With more than 20 classes there are no counts, fewer names, and
    the five most frequent confusions below.

    Args:
        matrix: counts, shape (k, k), as `evaluation.confusion` gives them.
        classes: k names.
    """
    from matplotlib.colors import PowerNorm

    matrix = np.asarray(matrix)
    k = len(classes)
    if matrix.shape != (k, k):
        raise ValueError(f"{k} classes need a matrix of shape ({k}, {k}), got {matrix.shape}")
    totals = matrix.sum(axis=1)
    shares = matrix / np.maximum(totals, 1)[:, None]
    names = [short(c, 18) for c in classes]
    side = min(9.0, max(4.0, 0.48 * k))
    few = k <= FEW_CLASSES
    correct = int(np.trace(matrix))
    heading = f"{plain(title)}\n{correct:,} of {totals.sum():,} right"
    figure = blank(side + 3.4, side + (1.9 if few else 2.9), heading)
    cells, bars = figure.subplots(1, 2, width_ratios=[side, 1.1], sharey=True)
    # Among many classes a confusion is a small fraction; the square root keeps it visible.
    picture = cells.imshow(shares, cmap="Blues", norm=PowerNorm(1 if few else 0.5, 0, 1), aspect="auto")
    cells.set(xlabel="predicted class", ylabel="true class")
    shown = range(0, k, math.ceil(k / TICKS))
    labels = [names[i] for i in shown]
    turned = 0 if few and max(map(len, labels)) <= 3 else 90
    cells.set_xticks(shown, labels, rotation=turned, fontsize=9 if few else 8)
    cells.set_yticks(shown, labels, fontsize=9 if few else 8)
    _accuracy_bars(bars, np.diag(shares), totals)
    figure.colorbar(picture, ax=[cells, bars], shrink=0.6, label="share of the true class")
    if few:
        size = 9 if matrix.max() < 10_000 else 6
        for (row, column), share in np.ndenumerate(shares):
            count = matrix[row, column]
            colour = "white" if share > 0.55 else "black" if count else "#b0b0b0"
            cells.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=size)
    else:
        cells.set_xlabel(f"predicted class\n\n{_confusions(matrix, names)}")
    return figure


def _accuracy_bars(axis, accuracies, totals):
    """One bar for each class that has images."""
    k = len(accuracies)
    axis.barh(range(k), 100 * accuracies, height=0.8 if k <= FEW_CLASSES else 1.0, color=BLUE)
    axis.set(xlim=(0, 100), xticks=(0, 100), xlabel="right (%)")
    axis.tick_params(axis="y", left=False, labelleft=False)
    axis.spines[["top", "right", "left"]].set_visible(False)
    if k <= FEW_CLASSES:
        for i, accuracy in enumerate(accuracies):
            text = f"{100 * accuracy:.1f}" if totals[i] else "none"
            axis.text(104, i, text, va="center", fontsize=9)


def _confusions(matrix, names) -> str:
    wrong = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:5]
    pairs = [np.unravel_index(i, wrong.shape) for i in order if wrong.flat[i]]
    lines = [f"{names[i]} taken for {names[j]}: {wrong[i, j]}" for i, j in pairs]
    return "most frequent confusions\n" + "\n".join(lines) if lines else "no confusions"


# --- images -----------------------------------------------------------------------------------------------------


def image_grid(images, labels, classes, title: str):
    """Input images of the network, up to 64, each with its class.

    All have the same scale, from their smallest value (black) to their largest (white), which stand in the title.

    Args:
        images: normalised floats, shape (n, height, width, 1 or 3).
        labels: class numbers (n,), or soft labels (n, k) of mixed images.
        classes: k names.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or not images.size or images.shape[-1] not in (1, 3):
        raise ValueError(f"images must have the shape (n, height, width, 1 or 3), n >= 1, got {images.shape}")
    shown = min(len(images), MAX_IMAGES)
    note = "" if shown == len(images) else f", {shown} of {len(images)} images"
    low, high = np.nanmin(images), np.nanmax(images)
    size = f"{images.shape[2]} x {images.shape[1]} pixels"
    columns = min(8, max(3, shown))
    rows = math.ceil(shown / columns)
    heading = f"{plain(title)}\n{size}, values from {low:.3g} to {high:.3g}{note}"
    figure = blank(1.45 * columns, 1.65 * rows + 0.8, heading)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    # A constant picture is grey, NaN black.
    pixels = np.nan_to_num((images[:shown] - low) / (high - low)) if high > low else np.full_like(images, 0.5)
    for i, axis in enumerate(axes):
        axis.axis("off")
        if i < shown:
            axis.imshow(np.clip(pixels[i], 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_title(_caption(np.asarray(labels[i]), classes), fontsize=9)
    return figure


def _caption(label, classes) -> str:
    if label.ndim == 0:
        return short(classes[int(label)], 16)
    first, second = np.argsort(-label, kind="stable")[:2] if len(label) > 1 else (0, 0)
    if label[second] < 0.05 or first == second:
        return short(classes[first], 16)
    shares = [f"{100 * label[c]:.0f} % {short(classes[c], 12)}" for c in (first, second)]
    return "\n".join(shares)


# --- filters ----------------------------------------------------------------------------------------------------


def filters(kernel, title: str):
    """The kernels of a convolution side by side, as in figure 3 of the AlexNet paper.

    All have the same scale, zero is mid-grey. Three input channels are drawn as red, green and blue, one as grey.
    With other numbers a row holds the slices of one kernel, in grey, for the first 32 kernels and channels.

    Args:
        kernel: weights, shape (height, width, channels, filters).
    """
    kernel = np.asarray(kernel, np.float32)
    if kernel.ndim != 4 or not kernel.size:
        raise ValueError(f"a kernel must have the shape (height, width, channels, filters), got {kernel.shape}")
    height, width, channels, count = kernel.shape
    largest = float(np.nanmax(np.abs(kernel)))
    grey = np.nan_to_num(0.5 + kernel / (2 * largest or 1.0), nan=0.5)
    heading = f"{plain(title)}\n{count} filter{'s' * (count > 1)}, {width} x {height} x {channels}"
    note = f"weights from {-largest:.3g} to {largest:.3g}; grey is 0"
    if channels in (1, 3):
        tiles = grey.transpose(3, 0, 1, 2)
        columns = min(count, math.ceil(math.sqrt(1.5 * count)))
    else:
        kept = grey[:, :, :MAX_SLICES, :MAX_SLICES]
        columns = kept.shape[2]
        tiles = kept.transpose(3, 2, 0, 1).reshape(-1, height, width, 1)
        note += f"\nrows: the first {kept.shape[3]} filters, columns: the first {columns} channels"
    picture = mosaic(tiles, columns)
    scale = min(10 / picture.shape[1], 8 / picture.shape[0], 0.25)
    figure = blank(max(4.5, scale * picture.shape[1]), scale * picture.shape[0] + 1.2, heading)
    axis = figure.subplots()
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[], xlabel=note)
    axis.spines[:].set_visible(False)
    return figure


def mosaic(tiles, columns: int, gap: int = 1, background: float = 1.0) -> np.ndarray:
    """Tiles (n, height, width, channels) row by row in one picture, with `gap` pixels around each.

    Tile i begins at row (i // columns) * (height + gap) + gap and column (i % columns) * (width + gap) + gap.
    """
    n, height, width, channels = tiles.shape
    rows = math.ceil(n / columns)
    cells = np.full((rows * columns, height + gap, width + gap, channels), background, tiles.dtype)
    cells[:n, gap:, gap:] = tiles
    picture = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    picture = picture.reshape(rows * (height + gap), columns * (width + gap), channels)
    return np.pad(picture, ((0, gap), (0, gap), (0, 0)), constant_values=background)
