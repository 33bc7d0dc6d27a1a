"""Batch normalisation (Ioffe & Szegedy 2015): higher rates, no dropout, inputs of any scale."""

from dataclasses import replace

import keras
import numpy as np

from keras_cnns import zoo
from keras_cnns.graph import trace
from keras_cnns.preprocessing import Preprocessing
from keras_cnns.surgery.operated import Dropped, Operated, without_norms
from training.data.dataset import DataSet
from training.engine import config as configs
from training.engine import loading
from training.experiments import pictures
from training.experiments.common import fitted, named
from training.experiments.performing import images_for
from training.experiments.value import Experiment, Finding, Outcome, Trial, less, mean
from training.recipe import SGD

NORMED = zoo.architecture("plain20")
BARE = named(NORMED, "plain20_bare", row=Operated(NORMED.row, without_norms))
DROPPED = named(BARE, "plain20_bare_dropout", row=Operated(BARE.row, Dropped(0.1)))
NO_SCALING = Preprocessing((0.0,) * 3, (1.0,) * 3)
LOW, HIGH = 0.01, 0.1
WORDS = {"mean": "absolute mean", "deviation": "deviation"}


def trials(data: DataSet) -> tuple[Trial, ...]:
    """Plain-20 with norms, without, and with dropout instead; two rates; inputs standardised or raw."""
    base = fitted("resnet_cifar", data, clip=1.0)
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


def study(outcome: Outcome) -> dict:
    """Mean and deviation of what each ReLU takes, layer by layer, before training and after; one seed."""
    found = {}
    for label in (f"norms-{LOW:g}", f"bare-{LOW:g}"):
        run = next(iter(outcome.whole(label)), None)
        if run is None:
            continue
        config = configs.read(run.folder)
        images = images_for(config, outcome.data)[:128]
        keras.utils.set_random_seed(0)
        for when, model in (("before", config.build()), ("after", loading.from_run(run.folder).model)):
            found[f"{label}, {when} training"] = _signals(model, images)
    return found


def _signals(model: keras.Model, images) -> dict:
    nodes, tensors = trace(model)
    takes = [n.inputs[0] for n in nodes if isinstance(n.layer, keras.layers.Activation) and len(n.inputs) == 1]
    takes = [tensors[i] for i in takes if len(tensors[i].shape) == 4]
    # Norms at work on the batch, as in training: before it their moving statistics say nothing.
    values = keras.Model(model.inputs, takes)(images, training=True)
    arrays = [np.asarray(v, "float64") for v in values]
    spread = [float(a.std((0, 1, 2)).mean()) for a in arrays]
    return {"mean": [float(np.abs(a.mean((0, 1, 2))).mean()) for a in arrays], "deviation": spread}


def judge(outcome: Outcome) -> list[Finding]:
    """Faster, at rates that a bare network does not bear, without dropout, whatever the scale of the inputs."""
    o = outcome
    best_bare = min((f"bare-{r:g}" for r in (LOW, HIGH)), key=lambda t: mean(o.error(t)))
    chance = 100 * (1 - 1 / len(o.data.classes))

    def learned(text, a, b):
        found = less(text, a, b)
        if min(mean(a), mean(b)) <= chance / 2:
            return found
        return replace(found, text=f"{found.text} (neither has learned: undecided)", held=None)

    learnt, stuck = (mean(o.error(f"{kind}-{HIGH:g}", "train")) for kind in ("norms", "bare"))
    high = f"the network with norms bears rate {HIGH:g}, the one without does not: training error {learnt:.2f} %"
    bears = learnt < chance / 2 and stuck > 0.8 * chance
    return [
        less(f"test error, with norms (rate {HIGH:g}) below the best without ({best_bare})",
             o.error(f"norms-{HIGH:g}"), o.error(best_bare)),
        Finding(f"{high} against {stuck:.1f} % (chance: {chance:.0f} %)", bears),
        learned("test error, norms and no dropout below dropout and no norms",
                o.error(f"norms-{LOW:g}"), o.error(f"dropout-{LOW:g}")),
        learned("raw inputs, test error with norms below that without",
                o.error("norms-raw"), o.error("bare-raw")),
        learned("without norms, test error of standardised inputs below that of raw ones",
                o.error(f"bare-{LOW:g}"), o.error("bare-raw")),
    ]  # fmt: skip


def draw(outcome: Outcome) -> dict:
    """Curves of all trials; the signal from layer to layer."""
    labels = [t.label for t in outcome.trials]
    panels = {"with norms, and without": labels[:4], "dropout, and raw inputs": labels[4:]}
    signals = {
        f"{WORDS[what]} of what each ReLU takes": {
            name: (list(range(1, len(s[what]) + 1)), s[what]) for name, s in outcome.extra.items()
        }
        for what in ("mean", "deviation")
    }
    return {
        "curves": pictures.curves(outcome, panels, "Plain-20: training dashed, validation solid"),
        "signals": pictures.lines(
            signals, "The signal from layer to layer (mean over channels)", "layer", "value"
        ),
    }


EXPERIMENT = Experiment(
    name="batch-norm",
    title="Batch norm: higher rates, no dropout, inputs of any scale",
    claim=(
        "Normalised over the batch, a network reaches the accuracy of its twin without norms in 14 times "
        "fewer steps, bears five to thirty "
        "times its rate, and can do without dropout (Ioffe & Szegedy 2015, arXiv 1502.03167, abstract and "
        "section 4.2). The articles: inputs "
        "should be standardised, and norms do the same for every layer."
    ),
    trials=trials,
    study=study,
    judge=judge,
    draw=draw,
    caveats=(
        "The paper's network is an Inception on ImageNet, this one a plain network of 20 layers, deep enough for "
        "norms to matter. Gradients are limited to a norm of 1 in all trials, so that none ends in infinity."
    ),
)
