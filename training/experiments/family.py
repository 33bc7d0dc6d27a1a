"""Experiment: all families under one budget, beside HOG: accuracy against parameters, operations, time."""

from statistics import fmean

import numpy as np

from keras_cnns import zoo
from keras_cnns.preprocessing import UNIT
from training.data import pipeline
from training.data.dataset import DataSet, Split
from training.experiments import plots
from training.experiments.definition import Experiment, ExperimentResults, Trial
from training.experiments.report import minutes
from training.experiments.welch import Finding, lower
from training.recipes import defaults

# One network a family, the smallest that the papers have for images of this size.
NETWORKS = (
    *("lenet5", "lenet5_modern", "alexnet_owt", "nin_cifar", "vgg11_cifar", "googlenet_tv", "resnet20"),
    *("resnet18_v2", "wrn16_4", "resnext29_32x4d", "seresnet20", "sknet26", "resnest14", "repvgg_a0"),
)


CELL, BINS, BLOCK = 4, 9, 2  # pixels, directions, cells
SIDE = 28  # pixels that images are resized to for HOG
PENALTIES = (0.01, 0.1, 1.0)


def trials(data: DataSet) -> tuple[Trial, ...]:
    """Every family by the recipe `quick`, with as many epochs as the same number of operations allows."""
    networks = {name: zoo.architecture(name) for name in NETWORKS}
    return tuple(Trial(name, network, defaults.quick(network, data)) for name, network in networks.items())


def study(outcome: ExperimentResults) -> dict:
    """Test error in per cent of a linear SVM on HOG, its penalty chosen on the validation split."""
    from sklearn.svm import LinearSVC

    data = outcome.data
    train, val, test = (features(s) for s in (data.train, data.val, data.test))
    machines = [LinearSVC(C=c, random_state=0).fit(train, data.train.labels) for c in PENALTIES]
    best = max(machines, key=lambda m: m.score(val, data.val.labels))
    error = float(100 * (1 - best.score(test, data.test.labels)))
    return {"hog": {"test_error": error, "n": len(data.test), "features": train.shape[1], "penalty": best.C}}


def features(split: Split) -> np.ndarray:
    """HOG of a whole split, in grey, at 28 pixels a side."""
    batches = pipeline.eval_batches(split, size=SIDE, channels=1, batch_size=512, preprocess=UNIT)
    return np.concatenate([hog(np.asarray(images)[..., 0]) for images, _ in batches])


def hog(images: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal & Triggs 2005), (n, blocks * 36), of grey images (n, h, w).

    Any scale; h and w are multiples of four.
    Gradients by central differences; in each cell of 4x4 pixels a histogram of nine unsigned directions, in which
    each pixel adds the length of its gradient to the two nearest; overlapping blocks of 2x2 cells, normalised,
    limited to 0.2 and normalised again (L2-Hys).
    """
    images = np.asarray(images, "float32")
    n, height, width = images.shape
    dy, dx = np.zeros_like(images), np.zeros_like(images)
    dy[:, 1:-1] = images[:, 2:] - images[:, :-2]
    dx[:, :, 1:-1] = images[:, :, 2:] - images[:, :, :-2]
    length = np.hypot(dx, dy)
    place = (np.arctan2(dy, dx) % np.pi) / np.pi * BINS - 0.5
    low = np.floor(place)
    weight = place - low
    rows, columns = height // CELL, width // CELL
    cells = np.zeros((n, rows, columns, BINS), "float32")
    for b in range(BINS):
        votes = length * ((low % BINS == b) * (1 - weight) + ((low + 1) % BINS == b) * weight)
        cells[..., b] = votes.reshape(n, rows, CELL, columns, CELL).sum((2, 4))
    blocks = np.lib.stride_tricks.sliding_window_view(cells, (BLOCK, BLOCK), (1, 2)).transpose(0, 1, 2, 4, 5, 3)
    blocks = blocks.reshape(n, rows - BLOCK + 1, columns - BLOCK + 1, -1)
    return _unit(np.minimum(_unit(blocks), 0.2)).reshape(n, -1)


def _unit(blocks: np.ndarray) -> np.ndarray:
    return blocks / np.sqrt(np.sum(np.square(blocks), -1, keepdims=True) + 1e-6)


def judge(outcome: ExperimentResults) -> list[Finding]:
    """Learned features against designed ones; residual networks against earlier ones."""
    classical = outcome.extra["hog"]["test_error"]
    below = [name for name in NETWORKS if fmean(outcome.error(name)) < classical]
    best = min(NETWORKS, key=lambda name: fmean(outcome.error(name)))
    first = NETWORKS.index("resnet20")
    early, late = ([fmean(outcome.error(n)) for n in names] for names in (NETWORKS[:first], NETWORKS[first:]))
    return [
        Finding(
            f"all learned features beat designed ones: {len(below)} of {len(NETWORKS)} networks are below "
            f"HOG + SVM ({classical:.2f} %); best {best}, {fmean(outcome.error(best)):.2f} %",
            len(below) == len(NETWORKS),
        ),
        lower("at equal work, error of residual families below the others' (spread over families)", late, early),
    ]


def draw(outcome: ExperimentResults) -> dict:
    """Accuracy against cost."""
    classical = outcome.extra["hog"]["test_error"]
    runs = outcome.runs

    def against(cost):
        return {name: (cost(runs[name]), outcome.error(name)) for name in runs}

    panels = {
        "parameters": against(lambda r: r[0].result["params"]),
        "MACs": against(lambda r: r[0].result["macs"]),
        "minutes of training": against(lambda r: max(fmean([minutes(run) for run in r]), 1e-3)),
    }
    line = (f"HOG + linear SVM: {classical:.2f} %", classical)
    return {"family": plots.points(panels, "All families under one budget", "test error (%)", line)}


EXPERIMENT = Experiment(
    name="family",
    title="The family: every network of the articles under one budget",
    claim=(
        "From LeNet-5 (1998) to RepVGG (2021) each network was more accurate than those before, or as accurate "
        "for less; all of them beat designed features with a linear classifier, the usual method before 2012."
    ),
    trials=trials,
    study=study,
    judge=judge,
    draw=draw,
    seeds=1,
    caveats=(
        "One budget is a budget of operations: a network of many MACs gets few epochs, and those made for "
        "ImageNet get small images. This measures what a network learns from few images, not what it can reach; "
        "the published errors, each under its own recipe, are in the index."
    ),
)
