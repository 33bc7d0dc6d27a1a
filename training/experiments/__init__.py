"""Experiments: claims of the papers, each with its trials, its figures and its verdict as a value."""

from keras_cnns.errors import unknown
from training.experiments import (
    batch_norm,
    by_construction,
    degradation,
    family,
    preactivation,
    relu,
    width_depth_cardinality,
)
from training.experiments.definition import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (degradation, by_construction, relu, batch_norm, preactivation, width_depth_cardinality, family)
}


def experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    if name not in EXPERIMENTS:
        raise ValueError(unknown("experiment", name, EXPERIMENTS))
    return EXPERIMENTS[name]
