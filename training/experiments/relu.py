"""Experiment: ReLU against tanh (Krizhevsky et al. 2012, section 3.1, figure 1): epochs to 25 % training error."""

from dataclasses import replace
from statistics import fmean

from keras_cnns.blocks import Classifier
from keras_cnns.models import vgg
from keras_cnns.models.resnet import cifar
from keras_cnns.surgery.edited_row import EditedRow, SwapLayers, tanh_for_relu
from training.data.dataset import DataSet
from training.experiments import plots
from training.experiments.common import FEW, fitted
from training.experiments.definition import Experiment, ExperimentResults, RunResult, Trial, epochs_to
from training.experiments.welch import Finding, lower
from training.recipes.optimizers import SGD
from training.recipes.schedules import Constant

RATES = (0.03, 0.1, 0.3, 1.0)
GOAL = 25.0
GOALS = (25.0, 10.0, 5.0)
EPOCHS = 40

ROW = vgg.Column((32, vgg.M, 64, vgg.M, 64, vgg.M))
RELU = replace(cifar("four_layers", ROW, "Three convolutions and a dense layer, after Krizhevsky et al. 2012."),
               head=Classifier())  # fmt: skip
TANH = replace(RELU, name="four_layers_tanh", row=EditedRow(ROW, SwapLayers(tanh_for_relu)))
KINDS = {"relu": RELU, "tanh": TANH}


def trials(data: DataSet) -> tuple[Trial, ...]:
    """Each activation at four rates (the paper chose the fastest for each), without regularisation."""
    plain = {"decay": 0.0, "augment": (), "schedule": Constant(), "warm_up": None, "clip": 5.0}
    recipe = replace(fitted("resnet_cifar", data, **plain), name="constant", citation="SGD 0.9 at a constant rate")
    recipe = replace(recipe, epochs=EPOCHS if len(data.train) < FEW else EPOCHS // 4)
    return tuple(
        Trial(f"{kind}-{rate:g}", network, replace(recipe, optimizer=SGD(rate, 0.9)))
        for kind, network in KINDS.items()
        for rate in RATES
    )


def epochs(run: RunResult, goal: float) -> float:
    """Epochs until the training error is at most `goal` per cent; infinite if never, or if the run diverged."""
    return epochs_to(run.history, goal, "top1") if run.whole else float("inf")


def fastest(outcome: ExperimentResults, kind: str, goal: float) -> tuple[str, list[float]]:
    """The trial of an activation that reaches the goal first, and its epochs for every seed."""
    found = {f"{kind}-{r:g}": outcome.each(f"{kind}-{r:g}", lambda d: epochs(d, goal)) for r in RATES}
    best = min(found, key=lambda label: fmean(found[label]))
    return best, found[best]


def judge(outcome: ExperimentResults) -> list[Finding]:
    """How many times faster, at the paper's goal and at stricter ones."""
    findings = []
    for goal in GOALS:
        (fast, a), (slow, b) = (fastest(outcome, kind, goal) for kind in KINDS)
        name = f"epochs to {goal:g} % training error, ReLU ({fast}) before tanh ({slow})"
        findings.append(lower(name, a, b, "", note=f", {fmean(b) / fmean(a):.1f} times"))
    (fast, a), (slow, b) = (fastest(outcome, kind, GOAL) for kind in KINDS)
    reached = max(*a, *b) < float("inf")
    held = lower("", [3 * x for x in a], b).held
    text = f"{fmean(b) / fmean(a):.1f} times" if reached else "not reached by all runs"
    ends = [label for label in (fast, slow) if label.endswith((f"-{RATES[0]:g}", f"-{RATES[-1]:g}"))]
    edge = f"; of the rates tried, {' and '.join(ends)} are the lowest or highest" if ends else ""
    findings.append(Finding(f"at least three times faster (the paper: 6): {text}{edge}", held))
    return findings


def draw(outcome: ExperimentResults) -> dict:
    """The paper's figure 1 with each activation's fastest rate, and the epochs at every rate."""
    best = [fastest(outcome, kind, GOAL)[0] for kind in KINDS]

    def until_goal(run):
        return min(epochs(run, GOAL), run.result["epochs"])

    groups = {kind: {f"rate {r:g}": outcome.each(f"{kind}-{r:g}", until_goal) for r in RATES} for kind in KINDS}
    return {
        "curves": plots.curves(outcome, {f"fastest to {GOAL:g} %": best}, "ReLU against tanh"),
        "epochs": plots.bars(groups, f"Epochs to {GOAL:g} % training error (not reached: all of them)", "epochs"),
    }


EXPERIMENT = Experiment(
    name="relu",
    title="ReLU against tanh: epochs to a quarter of errors",
    claim=(
        'A four-layer network with ReLUs reaches 25 % training error on CIFAR-10 "six times faster" than the '
        "same with tanh (Krizhevsky et al. 2012, section 3.1). Read off its figure, 5 epochs against 35 or so, "
        "as the articles say, are seven times."
    ),
    trials=trials,
    judge=judge,
    draw=draw,
    caveats=(
        "Both start from He's rule, which was made for ReLUs; the layout of the paper's network was not "
        "published. The training error is measured during the epoch, while the network learns. Where 25 % is "
        "reached within the first epochs, the stricter goals tell more."
    ),
)
