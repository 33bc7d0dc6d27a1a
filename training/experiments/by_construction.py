"""A deeper network that is no worse by construction (He et al. 2015, section 1)."""

from dataclasses import replace

import numpy as np

from keras_cnns import zoo
from keras_cnns.weights.loading import given
from training.classification import evaluation, trained
from training.classification.config import Config
from training.data.dataset import DataSet
from training.experiments import plots
from training.experiments.common import fitted
from training.experiments.deepening import deepened
from training.experiments.definition import Experiment, ExperimentResults, Trial
from training.experiments.runner import images_for, start_of
from training.experiments.welch import Finding, lower, no_worse
from training.report.stream import told

SHALLOW, DEEP = 20, 56
KINDS = ("plain", "resnet")


def trials(data: DataSet) -> tuple[Trial, ...]:
    """The shallow network, the deep one from scratch, the deep one built from the shallow one and trained on."""
    recipe = fitted("resnet_cifar", data)
    # It has been trained: a tenth of the rate, for half as long.
    on = replace(
        recipe.scaled(max(1, recipe.epochs // 2)),
        optimizer=replace(recipe.optimizer, rate=recipe.optimizer.rate / 10),
    )
    on = replace(on, citation=f"{recipe.citation}; a tenth of the rate for half the epochs", name="trained_on")
    found = []
    for kind in KINDS:
        shallow, deep = (zoo.architecture(f"{kind}{depth}") for depth in (SHALLOW, DEEP))
        found += [
            Trial(f"{kind}{SHALLOW}", shallow, recipe),
            Trial(f"{kind}{DEEP}", deep, recipe),
            Trial(f"{kind}{DEEP}-built", deep, on, after=f"{kind}{SHALLOW}", start=deepened),
        ]
    return tuple(found)


def study(outcome: ExperimentResults) -> dict:
    """How far the built network's logits are from the shallow one's before it is trained on, by kind and seed."""
    found = {}
    for kind in KINDS:
        gaps = []
        for run in outcome.whole(f"{kind}{SHALLOW}"):
            config = Config.read(run.folder)
            images = images_for(config, outcome.data, "test")
            start = start_of(f"{kind}{DEEP}-built", run.seed, run.folder.parent.parent)
            built = replace(config, architecture=zoo.architecture(f"{kind}{DEEP}")).build()
            with told([].append):
                given(start, f"{kind}{DEEP}").load(built)
            both = (trained.from_run(run.folder).model, built)
            a, b = (evaluation.logits_model(model).predict_on_batch(images) for model in both)
            gaps.append(float(np.abs(a - b).max() / np.abs(a).max()))
        found[kind] = gaps
    return {"largest_difference_of_logits": found}


def judge(outcome: ExperimentResults) -> list[Finding]:
    """Equal at the start; then no worse than the shallow network, and better than the deep one from scratch."""
    o, findings = outcome, []
    for kind, gaps in o.extra["largest_difference_of_logits"].items():
        text = f"{kind}: before training on, the built network's logits equal the shallow one's"
        if not gaps:
            findings.append(Finding(f"{text}: no shallow one came to its end (undecided)", None))
            continue
        findings.append(
            Finding(f"{text} (largest difference {max(gaps):.1e} of the largest logit)", max(gaps) < 1e-3)
        )
    for kind in KINDS:
        shallow, scratch, built = f"{kind}{SHALLOW}", f"{kind}{DEEP}", f"{kind}{DEEP}-built"
        name = f"training error of {built} is not above that of {shallow}"
        findings.append(no_worse(name, o.error(built, "train"), o.error(shallow, "train")))
        name = f"training error, {built} below {scratch} from scratch"
        findings.append(lower(name, o.error(built, "train"), o.error(scratch, "train")))
        findings.append(
            lower(f"test error, {built} below {scratch} from scratch", o.error(built), o.error(scratch))
        )
    return findings


def draw(outcome: ExperimentResults) -> dict:
    """Curves by kind, and the errors at the end."""
    names = {kind: [f"{kind}{SHALLOW}", f"{kind}{DEEP}", f"{kind}{DEEP}-built"] for kind in KINDS}
    panels = {f"{kind} networks": labels for kind, labels in names.items()}
    ends = {
        split: {label: outcome.error(label, split) for labels in names.values() for label in labels}
        for split in ("train", "test")
    }
    return {
        "curves": plots.curves(outcome, panels, "Error while training"),
        "ends": plots.bars(ends, "Error after training", "error (%)"),
    }


EXPERIMENT = Experiment(
    name="by-construction",
    title="By construction: a deeper network made of a trained one and identities",
    claim=(
        "There is a deep solution that is no worse than the shallow one: copy the learned layers and let the "
        "added ones be the "
        "identity. That solvers do not find it for plain networks is the reason for residual learning (He et "
        "al. 2015, "
        "arXiv 1512.03385, section 1). Added residual units are the identity if their last norm is zero; an "
        "identity is not "
        "a layer whose weights are all one, as the articles have it."
    ),
    trials=trials,
    study=study,
    judge=judge,
    draw=draw,
    caveats=(
        "The built network has had the shallow one's training before its own, so its total is half as long "
        "again as that of the one from scratch, and twice as long where that is one epoch."
    ),
)
