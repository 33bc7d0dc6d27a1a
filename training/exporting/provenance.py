"""Where an exported network comes from, for its card and its record."""

from dataclasses import dataclass
from pathlib import Path

from keras_cnns import zoo
from keras_cnns.weights.loading import given
from training.classification.config import Config
from training.run_folder.config import RunConfig
from training.run_folder.results import finished_result


@dataclass(frozen=True)
class Provenance:
    """Where a network comes from, in words.

    Attributes:
        arch, citation: the architecture.
        training: data, recipe, length, seed; or whose weights.
        accuracy: as measured by those who trained it.
        licence: of the weights.
    """

    arch: str
    citation: str
    training: str
    accuracy: str
    licence: str


def from_run(folder: Path) -> Provenance:
    """Of a classifier's finished run."""
    config = Config.read(folder)
    test = (finished_result(folder) or {}).get("test")
    accuracy = f"top-1 {test['top1']:.4f} on the test split (n={test['n']})" if test else "not measured"
    return from_config(config, config.architecture, f"{config.image_size} pixels", accuracy)


def from_config(config: RunConfig, architecture, size: str, accuracy: str) -> Provenance:
    """Of a run.

    Args:
        architecture: a value with a name and a citation.
        size: of the images, in words.
    """
    recipe = config.recipe
    trained = f"data {config.data}, recipe {recipe.name} ({recipe.citation}), {recipe.epochs} epochs"
    start = f", from {config.weights}" if config.weights else ""
    licence = "that of whoever trained it"
    if config.weights:
        licence += f"; it was trained from {config.weights}, whose licence still holds"
    return Provenance(
        arch=architecture.name,
        citation=architecture.citation,
        training=f"{trained}, seed {config.seed}{start}, {size}; keras_cnns {config.version}",
        accuracy=accuracy,
        licence=licence,
    )


def from_weights(arch: str, weights: str) -> Provenance:
    """Of an architecture with known weights, or with a file."""
    architecture, entry = zoo.architecture(arch), given(weights, arch).entry
    if entry is None:
        where = f"weights of the file {Path(weights).name}"
        return Provenance(arch, architecture.citation, where, "not known", "not known")
    crop = f"{entry.eval_size} pixels"
    accuracy = f"top-1 {entry.top1:g} %, top-5 {entry.top5:g} % on ImageNet's validation set at {crop} (published)"
    training = f"weights {entry.name} of {entry.source} ({entry.location})"
    terms = "" if entry.permissive else "; it forbids commercial use"
    return Provenance(arch, architecture.citation, training, accuracy, f"{entry.licence}{terms}")
