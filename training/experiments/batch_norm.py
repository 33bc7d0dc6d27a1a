"""Experiment: batch normalisation (Ioffe & Szegedy 2015): higher rates, no dropout, inputs of any scale."""

from dataclasses import replace
from statistics import fmean

import keras
import numpy as np

from keras_cnns import zoo
from keras_cnns.graph import trace
from keras_cnns.preprocessing import Preprocessing
from keras_cnns.surgery.edited_row import AddDropout, EditedRow, without_norms
from training.data.dataset import DataSet
from training.experiments import plots
from training.experiments.common import fitted, named
from training.experiments.definition import Experiment, ExperimentResults, Trial, epochs_to
from training.experiments.runner import opened
from training.experiments.welch import Finding, lower
from training.recipes.optimizers import SGD
from training.report.evaluation import mean_std

NORMED = zoo.architecture("plain20")
BARE = named(NORMED, "plain20_bare", row=EditedRow(NORMED.row, without_norms))
DROPPED = named(BARE, "plain20_bare_dropout", row=EditedRow(BARE.row, AddDropout(0.1)))
NO_SCALING = Preprocessing((0.0,) * 3, (1.0,) * 3)
LOW, HIGH = 0.01, 0.1
WORDS = {"mean": "absolute mean", "deviation": "deviation"}


def trials(data: DataSet) -> tuple[Trial, ...]:
    """Plain-20 with norms, without, and with dropout instead; two rates; inputs standardised or raw."""
    base = fitted("resnet_cifar", data)
    low, high = (replace(base, optimizer=SGD(rate, 0.9)) for rate in (LOW, HIGH))
    raw = replace(low, normalise="network")
    return (
        Trial(f"norms-{HIGH:g}", NORMED, high),
        Trial(f"norms-{LOW:g}", NORMED, low),
        Trial(f"bare-{HIGH:g}", BARE, high),
        Trial(f"bare-{LOW:g}", BARE, low),
        Trial(f"dropout-{LOW:g}", DROPPED, low),
        Trial("norms-raw", named(NORMED, "plain20_raw", preprocessing=NO_SCALING), raw),
        Trial("bare-raw", named(BARE, "plain20_bare_raw", preprocessing=NO_SCALING), raw),
    )


def study(outcome: ExperimentResults) -> dict:
    """Mean and deviation of the input of each ReLU, layer by layer, before and after training; one seed."""
    found = {}
    for label in (f"norms-{LOW:g}", f"bare-{LOW:g}"):
        for run in outcome.whole(label)[:1]:
            config, after, images = opened(run, outcome.data, "train")
            keras.utils.set_random_seed(0)
            for when, model in (("before", config.build()), ("after", after)):
                found[f"{label}, {when} training"] = _signals(model, images[:128])
    return found


def _signals(model: keras.Model, images) -> dict:
    nodes, tensors = trace(model)
    takes = [n.inputs[0] for n in nodes if isinstance(n.layer, keras.layers.Activation) and len(n.inputs) == 1]
    takes = [tensors[i] for i in takes if len(tensors[i].shape) == 4]
    # Norms by the statistics of the batch, as in training: before it their moving statistics are meaningless.
    values = keras.Model(model.inputs, takes)(images, training=True)
    arrays = [np.asarray(v, "float64") for v in values]
    spread = [float(a.std((0, 1, 2)).mean()) for a in arrays]
    return {"mean": [float(np.abs(a.mean((0, 1, 2))).mean()) for a in arrays], "deviation": spread}


def judge(outcome: ExperimentResults) -> list[Finding]:
    """Faster, at rates at which a bare network diverges, without dropout, at any scale of the inputs."""
    o = outcome
    best_bare = min((f"bare-{r:g}" for r in (LOW, HIGH)), key=lambda t: fmean(o.error(t)))
    chance = 100 * (1 - 1 / len(o.data.classes))

    def learned(what, a, b):
        found = o.below(what, a, b)
        if min(fmean(o.error(a)), fmean(o.error(b))) <= chance / 2:
            return found
        return replace(found, text=f"{found.text} (neither has learned: undecided)", held=None)

    norms, bare = (o.error(f"{kind}-{HIGH:g}", "train") for kind in ("norms", "bare"))
    high = f"the network with norms learns at rate {HIGH:g}, the one without does not: training error"
    learns = max(norms) < chance / 2 and min(bare) > 0.8 * chance
    broken = min(norms) > chance / 2 or max(bare) < chance / 2
    decided = True if learns else False if broken else None
    best, norms_low, bare_low = f"norms-{HIGH:g}", f"norms-{LOW:g}", f"bare-{LOW:g}"
    return [
        _faster(o, best, best_bare),
        o.below(f"test error, with norms (rate {HIGH:g}) below the best without ({best_bare})", best, best_bare),
        Finding(f"{high} {mean_std(norms)} % against {mean_std(bare)} % (chance: {chance:.0f} %)",
                decided if o.seeds > 1 else None),
        learned("test error, norms and no dropout below dropout and no norms", norms_low, f"dropout-{LOW:g}"),
        learned("raw inputs, test error with norms below that without", "norms-raw", "bare-raw"),
        learned("without norms, test error of standardised inputs below that of raw ones", bare_low, "bare-raw"),
    ]  # fmt: skip


def _faster(outcome: ExperimentResults, norms: str, bare: str) -> Finding:
    """Epochs to the best accuracy of the network without norms, seed by seed."""
    text = f"epochs to the least validation error of {bare}, {norms} before {bare}"
    pairs = [(a, b) for a, b in zip(outcome.runs[norms], outcome.runs[bare], strict=True) if a.whole and b.whole]
    goals = [min(100 * (1 - row["val_top1"]) for row in b.history) + 1e-9 for _, b in pairs]
    one, two = ([epochs_to(pair[i].history, g) for pair, g in zip(pairs, goals, strict=True)] for i in (0, 1))
    return lower(text, one, two, "", note=" (the paper: 14 times fewer steps)")


def draw(outcome: ExperimentResults) -> dict:
    """Curves of all trials, and the signal from layer to layer."""
    labels = [t.label for t in outcome.trials]
    panels = {"with norms, and without": labels[:4], "dropout, and raw inputs": labels[4:]}
    signals = {key: f"{word} of the input of each ReLU" for key, word in WORDS.items()}
    return {
        "curves": plots.curves(outcome, panels, "Plain-20"),
        "signals": plots.lines(
            outcome.extra, signals, "The signal from layer to layer (mean over channels)", "layer", "value"
        ),
    }


EXPERIMENT = Experiment(
    name="batch-norm",
    title="Batch norm: higher rates, no dropout, inputs of any scale",
    claim=(
        "Normalised over the batch, a network reaches the accuracy of its twin without norms in 14 times fewer "
        "steps, trains at five to thirty times its rate, and can do without dropout (Ioffe & Szegedy 2015, arXiv "
        "1502.03167, abstract and section 4.2). The articles: inputs should be standardised, and norms do the "
        "same for every layer."
    ),
    trials=trials,
    study=study,
    judge=judge,
    draw=draw,
    caveats=(
        "The paper's network is an Inception on ImageNet, this one a plain network of 20 layers, deep enough for "
        "norms to matter. As in the paper, no gradient is clipped, and a loss that is not finite ends its run."
    ),
)
