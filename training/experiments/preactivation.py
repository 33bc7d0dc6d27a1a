"""Experiment: five orders of the same layers in a residual unit (He et al. 2016, arXiv 1603.05027, figure 4)."""

from dataclasses import replace
from itertools import combinations, pairwise
from statistics import fmean

import keras
import numpy as np

from keras_cnns import blocks, zoo
from training.data.dataset import DataSet
from training.experiments import plots
from training.experiments.common import fitted, named
from training.experiments.definition import Experiment, ExperimentResults, Trial
from training.experiments.runner import opened
from training.experiments.welch import Finding, lower

ROW = zoo.architecture("resnet56").row
ZERO = blocks.ZeroPad()
PRE = {"stem": blocks.StemConv3x3(16), "finish": blocks.norm_relu}
ORDERS = {
    "a-original": {"unit": blocks.Basic(shortcut=ZERO)},
    "b-norm-after-addition": {"unit": blocks.NormAfterAddition(shortcut=ZERO)},
    "c-relu-before-addition": {"unit": blocks.ReluBeforeAddition(shortcut=ZERO)},
    "d-relu-preactivation": {"unit": blocks.ReluPreActivation(shortcut=ZERO), **PRE},
    "e-full-preactivation": {"unit": blocks.PreActivationBasic(shortcut=ZERO), **PRE},
}
PUBLISHED = dict(zip(ORDERS, (6.61, 8.17, 7.84, 6.71, 6.37), strict=True))  # ResNet-110, CIFAR-10, test error
A, B, C, E = (label for label in ORDERS if label[0] in "abce")
SIGNS = {"negative": -1, "zero": 0, "positive": 1}


def trials(data: DataSet) -> tuple[Trial, ...]:
    """ResNet-56 in five orders, by the paper's recipe; where images are few, by its short form."""
    recipe = fitted("resnet_v2_cifar", data)
    base = zoo.architecture("resnet56")
    return tuple(
        Trial(label, named(base, f"resnet56_{label[0]}", row=replace(ROW, **order)), recipe)
        for label, order in ORDERS.items()
    )


def study(outcome: ExperimentResults) -> dict:
    """Fractions of values below, at and above zero in the output of each unit; the first finished seed."""
    found = {}
    for label in outcome.runs:
        for run in outcome.whole(label)[:1]:
            _, model, images = opened(run, outcome.data, "test")
            names = [layer.name for layer in model.layers]
            units = [name.removesuffix("_add") for name in names if name.endswith("_add")]
            # The output of a unit is its ReLU where there is one, else its addition.
            ends = [f"{unit}_relu" if f"{unit}_relu" in names else f"{unit}_add" for unit in units]
            outputs = keras.Model(model.inputs, [model.get_layer(name).output for name in ends])
            signs = [np.sign(values) for values in outputs.predict_on_batch(images[:128])]
            found[label] = {word: [float((s == sign).mean()) for s in signs] for word, sign in SIGNS.items()}
    return found


def judge(outcome: ExperimentResults) -> list[Finding]:
    """The paper's ranking, and its claims about training error, test error and signs."""
    o = outcome
    order = sorted(ORDERS, key=lambda label: fmean(o.error(label)))
    paper = sorted(ORDERS, key=PUBLISHED.get)
    below = {(a, b): o.below("", a, b).held for a, b in combinations(paper, 2)}
    neighbours = all(below[pair] for pair in pairwise(paper))
    ranked = False if False in below.values() else True if neighbours else None

    def loss(label):
        return o.each(label, lambda run: run.result["train"]["loss"])

    ranks = ", ".join(f"({label[0]}) {fmean(o.error(label)):.2f} %" for label in order)
    return [
        o.below("test error, (e) full pre-activation below (a) the original", E, A),
        o.below("test error, (a) the original below (b) norm after addition", A, B),
        o.below("test error, (a) the original below (c) ReLU before addition", A, C),
        Finding(f"the ranking is the paper's, {', '.join(f'({x[0]})' for x in paper)}: {ranks}", ranked),
        lower("training loss, (a) the original below (e) full pre-activation", loss(A), loss(E), "", digits=4),
        _signs(o.extra),
    ]


def _signs(extra: dict) -> Finding:
    text = "the output of the last unit is never negative in (a) and (c)"
    if not {A, C, E} <= set(extra):
        return Finding(f"{text}: not all have a finished run (undecided)", None)
    below = {x: extra[x]["negative"][-1] for x in (A, C, E)}
    return Finding(
        f"{text}: {below[A]:.0%} and {below[C]:.0%} of the values are, in (e) {below[E]:.0%}; above zero in (c): "
        f"{extra[C]['positive'][-1]:.0%}",
        below[A] == below[C] == 0 < below[E],
    )


def draw(outcome: ExperimentResults) -> dict:
    """Errors of the five orders beside the paper's, curves, and signs from unit to unit."""
    here = {label: outcome.error(label) for label in ORDERS}
    paper = {label: [value] for label, value in PUBLISHED.items()}
    signs = {"negative": "share of values below zero", "positive": "share of values above zero"}
    return {
        "errors": plots.bars({"here": here, "paper: ResNet-110, CIFAR-10": paper}, "Test error", "error (%)"),
        "curves": plots.curves(outcome, {"five orders": list(ORDERS)}, "Error while training"),
        "signs": plots.lines(outcome.extra, signs, "Signs of the outputs of units", "unit", "share"),
    }


EXPERIMENT = Experiment(
    name="preactivation",
    title="Pre-activation: five orders of the same layers",
    claim=(
        "With nothing but additions in the path of the signal, residual networks train best. Test errors of "
        "ResNet-110 on CIFAR-10: (a) original 6.61, (b) norm after addition 8.17, (c) ReLU before addition 7.84, "
        "(d) ReLU-only pre-activation 6.71, (e) full pre-activation 6.37 %; pre-activation ends with the higher "
        "training loss and the lower test error (He et al. 2016, arXiv 1603.05027, table 2 and figure 6)."
    ),
    trials=trials,
    study=study,
    judge=judge,
    draw=draw,
    caveats="The paper's networks have 110 layers and more, and the advantage grows with depth; this one has 56.",
)
