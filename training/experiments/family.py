"""All families under one budget, beside the classical way: accuracy against parameters, operations and time."""

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
    *(
        "lenet5",
        "lenet5_modern",
        "alexnet_owt",
        "nin_cifar",
        "vgg11_cifar",
        "googlenet_tv",
        "resnet20",
        "resnet18_v2",
    ),
    *("wrn16_4", "resnext29_32x4d", "seresnet20", "sknet26", "resnest14", "repvgg_a0"),
)


def trials(data: DataSet) -> tuple[Trial, ...]:
    """Every family by the recipe `quick`, which gives each as many epochs as the same work allows."""
    return tuple(
        Trial(name, zoo.architecture(name), defaults.quick(zoo.architecture(name), data)) for name in NETWORKS
    )


def study(outcome: ExperimentResults) -> dict:
    """HOG and a linear SVM."""
    return {"hog": baseline(outcome.data)}


def judge(outcome: ExperimentResults) -> list[Finding]:
    """Learned features against designed ones; residual networks against those before them."""
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
    """Accuracy against what it costs."""
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
        "From LeNet-5 (1998) to RepVGG (2021) each network was more accurate than those before, or as "
        "accurate for less; all of them beat "
        "designed features with a linear classifier, the way before 2012."
    ),
    trials=trials,
    study=study,
    judge=judge,
    draw=draw,
    seeds=1,
    caveats=(
        "One budget is a budget of operations: a network of many MACs gets few epochs, and those made for "
        "ImageNet are shown small images. "
        "This measures what a network learns from little, not what it can reach; the published errors, each "
        "under its own recipe, "
        "stand in the index."
    ),
)
