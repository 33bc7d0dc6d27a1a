"""Where an exported network comes from, for its card and its record."""

from dataclasses import dataclass
from pathlib import Path

from keras_cnns import zoo
from keras_cnns.weights.loading import given
from training.classification.config import Config
from training.run_folder.results import finished_result


@dataclass(frozen=True)
class Provenance:
    """Facts about a network, in words.

    Attributes:
        arch, citation: the architecture.
        training: data, recipe, length, seed; or whose weights.
        measured: its accuracy as its maker measured it.
        licence: of the weights.
    """

    arch: str
    citation: str
    training: str
    measured: str
    licence: str


def of_run(folder: Path) -> Provenance:
    """Of a finished run."""
    config, result = Config.read(folder), finished_result(folder) or {}
    test = result.get("test")
    measured = f"top-1 {test['top1']:.4f} on the test split (n={test['n']})" if test else "not measured"
    recipe = config.recipe
    trained = f"data {config.data}, recipe {recipe.name} ({recipe.citation}), {recipe.epochs} epochs"
    start = f", from {config.weights}" if config.weights else ""
    return Provenance(
        arch=config.architecture.name,
        citation=config.architecture.citation,
        training=f"{trained}, seed {config.seed}{start}, {config.image_size} pixels; keras_cnns {config.version}",
        measured=measured,
        licence="that of whoever trained it"
        + (f"; it began from {config.weights}, whose licence goes on" if config.weights else ""),
    )


def of_weights(arch: str, weights: str) -> Provenance:
    """Of an architecture with known weights, or with a file."""
    architecture, entry = zoo.architecture(arch), given(weights, arch).entry
    if entry is None:
        where = f"weights of the file {Path(weights).name}"
        return Provenance(arch, architecture.citation, where, "not known", "not known")
    crop = f"{entry.eval_size} pixels"
    measured = f"top-1 {entry.top1:g} %, top-5 {entry.top5:g} % on ImageNet's validation set at {crop} (published)"
    training = f"weights {entry.name} of {entry.source} ({entry.location})"
    free = "" if entry.permissive else "; it forbids commercial use"
    return Provenance(arch, architecture.citation, training, measured, f"{entry.licence}{free}")
