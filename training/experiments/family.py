"""Experiment: all families under one budget, beside HOG: accuracy against parameters, operations, time."""

from keras_cnns import zoo
from training.data.dataset import DataSet
from training.experiments import plots
from training.experiments.definition import Experiment, ExperimentResults, Trial
from training.experiments.hog import baseline
from training.experiments.report import minutes
from training.experiments.welch import Finding, lower
from training.recipes import defaults
from training.report.evaluation import mean

# One network a family, the smallest that the papers have for images of this size.
NETWORKS = (
    *("lenet5", "lenet5_modern", "alexnet_owt", "nin_cifar", "vgg11_cifar", "googlenet_tv", "resnet20"),
    *("resnet18_v2", "wrn16_4", "resnext29_32x4d", "seresnet20", "sknet26", "resnest14", "repvgg_a0"),
)


def trials(data: DataSet) -> tuple[Trial, ...]:
    """Every family by the recipe `quick`, with as many epochs as the same number of operations allows."""
    networks = {name: zoo.architecture(name) for name in NETWORKS}
    return tuple(Trial(name, network, defaults.quick(network, data)) for name, network in networks.items())


def study(outcome: ExperimentResults) -> dict:
    """HOG and a linear SVM."""
    return {"hog": baseline(outcome.data)}


def judge(outcome: ExperimentResults) -> list[Finding]:
    """Learned features against designed ones; residual networks against earlier ones."""
    classical = outcome.extra["hog"]["test_error"]
    below = [name for name in NETWORKS if mean(outcome.error(name)) < classical]
    best = min(NETWORKS, key=lambda name: mean(outcome.error(name)))
    first = NETWORKS.index("resnet20")
    early, late = ([mean(outcome.error(n)) for n in names] for names in (NETWORKS[:first], NETWORKS[first:]))
    return [
        Finding(
            f"all learned features beat designed ones: {len(below)} of {len(NETWORKS)} networks are below "
            f"HOG + SVM ({classical:.2f} %); best {best}, {mean(outcome.error(best)):.2f} %",
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
        "minutes of training": against(lambda r: max(mean([minutes(run) for run in r]), 1e-3)),
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
