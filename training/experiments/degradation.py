"""Experiment: deeper plain networks learn worse, residual ones better (He et al. 2015, sections 1 and 4.2)."""

from keras_cnns import zoo
from training.data.dataset import DataSet
from training.experiments import plots
from training.experiments.common import fitted
from training.experiments.definition import ERRORS, Experiment, ExperimentResults, Trial
from training.experiments.welch import Finding

DEPTHS = (20, 32, 44, 56)
KINDS = ("plain", "resnet")


def trials(data: DataSet) -> tuple[Trial, ...]:
    """Plain and residual networks of four depths, all by the paper's recipe."""
    recipe = fitted("resnet_cifar", data)
    return tuple(Trial(f"{k}{d}", zoo.architecture(f"{k}{d}"), recipe) for d in DEPTHS for k in KINDS)


def judge(outcome: ExperimentResults) -> list[Finding]:
    """The paper's two sentences, of the test error and, which is the surprise, of the training error."""
    pairs = (("plain-20", "plain-56"), ("resnet-56", "plain-56"), ("resnet-56", "resnet-20"))
    return [
        outcome.below(f"{error}, {a} below {b}", a.replace("-", ""), b.replace("-", ""), split)
        for a, b in pairs
        for split, error in ERRORS.items()
    ]


def draw(outcome: ExperimentResults) -> dict:
    """The paper's figure, and the errors against the depth."""
    panels = {f"{kind} networks": [f"{kind}{d}" for d in DEPTHS] for kind in KINDS}
    by_depth = {
        f"{kind}, {split}": {str(d): outcome.error(f"{kind}{d}", split) for d in DEPTHS}
        for kind in KINDS
        for split in ERRORS
    }
    return {
        "curves": plots.curves(outcome, panels, "Error while training"),
        "depths": plots.bars(by_depth, "Error after training, by depth", "error (%)"),
    }


EXPERIMENT = Experiment(
    name="degradation",
    title="Degradation: deeper plain networks train worse, residual ones do not",
    claim=(
        "On CIFAR-10 the training error of plain networks rises with their depth, from 20 to 56 layers, though "
        "the deeper network contains the shallower one; plain-110 stays above 60 %. With shortcuts it falls: "
        "test errors of ResNet-20, 32, 44, 56 and 110 are 8.75, 7.51, 7.17, 6.97 and 6.43 % (He et al. 2015, "
        "arXiv 1512.03385, figure 6 and table 6)."
    ),
    trials=trials,
    judge=judge,
    draw=draw,
    caveats=(
        "The paper's solid curves are test errors; here they are those of the validation split, and the test "
        "split is measured once, at the end. A short run leaves the deepest networks half trained, residual "
        "ones, too, and on an easy set the differences between those that have learned are within the spread."
    ),
)
