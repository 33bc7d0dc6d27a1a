"""Experiment: where to put parameters: depth, width (Zagoruyko & Komodakis 2016) or paths (Xie et al. 2016)."""

from collections.abc import Callable
from functools import cache

import numpy as np

from keras_cnns import blocks, measure, zoo
from keras_cnns.architecture import Architecture
from training.data.dataset import DataSet
from training.experiments import plots
from training.experiments.common import fitted, named
from training.experiments.definition import Experiment, ExperimentResults, Trial, epochs_to
from training.experiments.welch import Finding, lower, no_worse

BASE = zoo.architecture("resnet20")
PATHS = 8
WIDEST = 128


BASIC = blocks.Basic(shortcut=blocks.ZeroPad())
SHAPES = {  # units in each of the three stages, and the unit
    "middle": (3, BASIC),  # 20 layers: the network to compare with
    "deep": (9, BASIC),  # 56 layers
    "wide": (1, BASIC),  # 8 layers
    "bottlenecks": (2, blocks.Bottleneck()),  # 20 layers of bottlenecks with one path
    "paths": (2, blocks.Bottleneck(blocks.Conv3x3(groups=PATHS), inner=2)),  # with eight, twice as wide inside
}
EQUAL = {"params": lambda m: m.trainable_params, "macs": lambda m: m.macs}
WORDS = {"params": "parameters", "macs": "MACs"}


def shaped(shape: str, width: int) -> Architecture:
    """The network of a shape whose first stage has a width."""
    depth, unit = SHAPES[shape]
    row = blocks.Staged((depth,) * 3, unit, (width, 2 * width, 4 * width), blocks.Stem3x3(width))
    return named(BASE, f"{shape}_{width}", row=row)


def nearest(shape: str, cost: Callable, goal: float) -> Architecture:
    """The shape at the width that is closest to a cost; for paths a width that divides among them."""
    # Kernels grow with the square of the width, the rest with the width: three points define the curve.
    some = (4, 8, 12)
    curve = np.polyfit(some, [cost(_measured(shape, width)) for width in some], 2)
    step = PATHS // 2 if shape == "paths" else 1
    return shaped(shape, min(range(4, WIDEST, step), key=lambda width: abs(np.polyval(curve, width) - goal)))


@cache
def _measured(shape: str, width: int):
    return measure(shaped(shape, width)())


def trials(data: DataSet) -> tuple[Trial, ...]:
    """Every shape at the parameters, and at the MACs, of ResNet-20."""
    recipe, base = fitted("resnet_cifar", data), measure(BASE())
    return tuple(
        Trial(f"{shape}-equal-{what}", nearest(shape, cost, cost(base)), recipe)
        for what, cost in EQUAL.items()
        for shape in SHAPES
    )


def study(outcome: ExperimentResults) -> dict:
    """Seconds of training to an accuracy that every finished run reaches: the worst of their best.

    They are epochs at the run's median speed, without building and validation.
    """
    runs = {label: outcome.whole(label) for label in outcome.runs}
    best = [min(100 * (1 - row["val_top1"]) for row in run.history) for its in runs.values() for run in its]
    goal = max(best, default=100.0) + 1e-9

    def seconds(run):
        return epochs_to(run.history, goal) * run.result["train"]["n"] / run.result["images_per_second"]

    return {
        "validation_error": goal,
        "seconds": {label: [seconds(run) for run in its] for label, its in runs.items()},
    }


def judge(outcome: ExperimentResults) -> list[Finding]:
    """Wide nets are as good and faster; paths are better than one path, width and depth.

    Networks that are the same at equal parameters and at equal operations are compared once.
    """
    o, findings = outcome, []
    goal, seconds = o.extra["validation_error"], o.extra["seconds"]
    for what in EQUAL:

        def of(value, *shapes, what=what):
            return [value(f"{shape}-equal-{what}") for shape in shapes]

        def repeated(*shapes, what=what):
            return what != "params" and all(_twins(o, shape) for shape in shapes)

        start = f"equal {WORDS[what]}: "
        for other, name in (("bottlenecks", "bottlenecks with one path"), ("wide", "wide"), ("deep", "deep")):
            if not repeated("paths", other):
                findings.append(lower(f"{start}test error, paths below {name}", *of(o.error, "paths", other)))
        if not repeated("wide", "deep"):
            errors, speeds, times = (of(value, "wide", "deep") for value in (o.error, o.speeds, seconds.get))
            findings += [
                no_worse(f"{start}test error, wide not above deep", *errors),
                lower(f"{start}images a second, deep below wide", *speeds[::-1], " images/s", 0),
                lower(f"{start}seconds to {goal:.1f} % validation error, wide below deep", *times, " s", 1),
            ]
    return findings


def _twins(outcome: ExperimentResults, shape: str) -> bool:
    """Whether a shape is the same network at equal parameters and at equal operations, trained once."""
    one, other = ([run.folder for run in outcome.runs[f"{shape}-equal-{what}"]] for what in EQUAL)
    return one == other


def draw(outcome: ExperimentResults) -> dict:
    """Errors, speeds, and the time to an accuracy that all reach."""

    def of(value):
        return {f"equal {WORDS[what]}": {n: value(f"{n}-equal-{what}") for n in SHAPES} for what in EQUAL}

    goal, seconds = outcome.extra["validation_error"], outcome.extra["seconds"]
    return {
        "errors": plots.bars(of(outcome.error), "Test error", "error (%)"),
        "speeds": plots.bars(of(outcome.speeds), "Training speed", "images/s"),
        "seconds": plots.bars(of(seconds.get), f"Seconds to {goal:.1f} % validation error", "seconds"),
    }


EXPERIMENT = Experiment(
    name="width-depth-cardinality",
    title="Width, depth or cardinality: where to put parameters and operations",
    claim=(
        "A wide network of 16 layers is as accurate as a thin one of 1,000 with as many parameters, and trains "
        "several times as fast (Zagoruyko & Komodakis 2016, arXiv 1605.07146, section 3: WRN-40-4 against "
        "ResNet-1001, 8 times). More paths are better than one at equal operations (Xie et al. 2016, arXiv "
        "1611.05431, table 3: ResNeXt-101 21.2 % against ResNet-101 22.0 % top-1 error on ImageNet), and gain "
        "more from twice the operations than depth or width do (table 4: 20.4 % against 21.7 and 21.3)."
    ),
    trials=trials,
    study=study,
    judge=judge,
    draw=draw,
    caveats=(
        "Widths are whole numbers, with eight paths multiples of four, so costs are equal within a few per cent, "
        "those of bottlenecks and paths within 12; the table has them. All shapes have the same three stages, so "
        "equal parameters come close to equal MACs, and where both lead to the same width the network is trained "
        "once. Accuracies count as equal within a point. Speeds are of one machine, which also did other work, "
        "and grouped convolutions are slow on CPUs."
    ),
)
