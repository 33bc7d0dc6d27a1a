"""Experiment: a deeper network that is no worse by construction (He et al. 2015, section 1)."""

import re
from dataclasses import replace

import keras
import numpy as np

from keras_cnns import zoo
from keras_cnns.weights.loading import given
from training.classification import evaluation
from training.data.dataset import DataSet
from training.experiments import plots
from training.experiments.common import fitted
from training.experiments.definition import ERRORS, Experiment, ExperimentResults, Trial
from training.experiments.runner import opened, start_of
from training.experiments.welch import Finding, no_worse
from training.report.stream import log_messages_to

# Kind -> the shallow network, the deep one from scratch, the deep one built from the shallow one.
LABELS = {kind: (f"{kind}20", f"{kind}56", f"{kind}56-built") for kind in ("plain", "resnet")}
UNIT = re.compile(r"(stage\d+)_unit\d+_(.+)")


def deepened(shallow: keras.Model, deep: keras.Model, batch) -> keras.Model:
    """`deep` with the weights of `shallow`, and identities in the units that only `deep` has.

    Both are networks of basic units of the same widths, plain or residual (`models.resnet`). A residual unit is
    the identity if its second norm is zero. A plain one needs kernels that copy, and norms that change nothing:
    scale and offset are the deviation and mean of their input, measured on a batch, so that training mode changes
    little, too. The ReLU of a unit changes nothing, since the output of the unit before is not negative.

    Args:
        batch: preprocessed images.
    """
    known = {layer.name for layer in shallow.layers}
    residual = any(isinstance(layer, keras.layers.Add) for layer in deep.layers)
    statistics = {} if residual else _statistics(shallow, batch)
    for layer in deep.layers:
        if not layer.weights:
            continue
        if layer.name in known:
            layer.set_weights(shallow.get_layer(layer.name).get_weights())
            continue
        stage, part = UNIT.fullmatch(layer.name).groups()
        if residual:
            if part == "conv2_norm":
                layer.gamma.assign(np.zeros(layer.gamma.shape))
        elif isinstance(layer, keras.layers.Conv2D):
            height, width, channels, _ = layer.kernel.shape
            identity = np.zeros(layer.kernel.shape)
            identity[height // 2, width // 2] = np.eye(channels)
            layer.kernel.assign(identity)
        else:
            average, variance = statistics[stage]
            layer.set_weights([np.sqrt(variance + layer.epsilon), average, average, variance])
    return deep


def _statistics(model: keras.Model, batch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and variance, by channel, of the output of each stage, which is the input of its identities."""
    ends = {}
    for layer in model.layers:
        place = UNIT.fullmatch(layer.name)
        if place and place[2] == "relu":
            ends[place[1]] = layer.output
    values = keras.Model(model.inputs, list(ends.values())).predict_on_batch(batch)
    arrays = [np.asarray(v, "float64") for v in values]
    return {s: (a.mean((0, 1, 2)), a.var((0, 1, 2))) for s, a in zip(ends, arrays, strict=True)}


def trials(data: DataSet) -> tuple[Trial, ...]:
    """The shallow network, the deep one from scratch, the deep one built from the shallow one and trained on."""
    recipe = fitted("resnet_cifar", data)
    slow = replace(recipe.optimizer, rate=recipe.optimizer.rate / 10)
    citation = f"{recipe.citation}; a tenth of the rate for half the epochs"
    on = recipe.scaled(max(1, recipe.epochs // 2))
    on = replace(on, optimizer=slow, citation=citation, name="trained_on")
    found = []
    for shallow, deep, built in LABELS.values():
        found += [
            Trial(shallow, zoo.architecture(shallow), recipe),
            Trial(deep, zoo.architecture(deep), recipe),
            Trial(built, zoo.architecture(deep), on, after=shallow, start=deepened),
        ]
    return tuple(found)


def study(outcome: ExperimentResults) -> dict:
    """Difference of the built network's logits from the shallow one's before training on, by kind and seed."""
    found = {kind: [] for kind in LABELS}
    for kind, (shallow, deep, label) in LABELS.items():
        for run in outcome.whole(shallow):
            config, model, images = opened(run, outcome.data, "test")
            built = replace(config, architecture=zoo.architecture(deep)).build()
            with log_messages_to([].append):
                given(start_of(label, run.seed, run.folder.parent.parent), deep).load(built)
            a, b = (evaluation.logits_model(m).predict_on_batch(images) for m in (model, built))
            found[kind].append(float(np.abs(a - b).max() / np.abs(a).max()))
    return {"largest_difference_of_logits": found}


def judge(outcome: ExperimentResults) -> list[Finding]:
    """Equal at the start; then no worse than the shallow network, and better than the deep one from scratch."""
    o, findings = outcome, []
    for kind, gaps in o.extra["largest_difference_of_logits"].items():
        text = f"{kind}: before training on, the built network's logits equal the shallow one's"
        if not gaps:
            findings.append(Finding(f"{text}: no shallow run finished (undecided)", None))
            continue
        text += f" (largest difference {max(gaps):.1e} of the largest logit)"
        findings.append(Finding(text, max(gaps) < 1e-3))
    for shallow, scratch, built in LABELS.values():
        name = f"training error of {built} is not above that of {shallow}"
        findings.append(no_worse(name, o.error(built, "train"), o.error(shallow, "train")))
        for split, error in ERRORS.items():
            findings.append(o.below(f"{error}, {built} below {scratch} from scratch", built, scratch, split))
    return findings


def draw(outcome: ExperimentResults) -> dict:
    """Curves by kind, and the errors after training."""
    panels = {f"{kind} networks": labels for kind, labels in LABELS.items()}
    ends = {split: {label: outcome.error(label, split) for label in outcome.runs} for split in ERRORS}
    return {
        "curves": plots.curves(outcome, panels, "Error while training"),
        "ends": plots.bars(ends, "Error after training", "error (%)"),
    }


EXPERIMENT = Experiment(
    name="by-construction",
    title="By construction: a deeper network made of a trained one and identities",
    claim=(
        "There is a deep solution that is no worse than the shallow one: copy the learned layers and let the "
        "added ones be the identity. That solvers do not find it for plain networks is the reason for residual "
        "learning (He et al. 2015, arXiv 1512.03385, section 1). Added residual units are the identity if their "
        "last norm is zero; an identity is not a layer whose weights are all one, as the articles say."
    ),
    trials=trials,
    study=study,
    judge=judge,
    draw=draw,
    caveats=(
        "The built network also has the shallow one's training: in all half as many epochs again as the one from "
        "scratch, and twice as many where that has one."
    ),
)
