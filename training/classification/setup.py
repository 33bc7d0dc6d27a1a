"""Before a run: its configuration from a network, a recipe and data; its folder; its small form, the dry run."""

from dataclasses import replace
from math import lcm
from operator import mul

from keras_cnns import __version__
from keras_cnns.architecture import Architecture
from keras_cnns.preprocessing import Preprocessing
from training.classification.config import Config
from training.classification.task import SPLITS, reader
from training.data import pipeline
from training.data.colour import TF_LUMA
from training.data.dataset import DataSet
from training.engine.backends import backend
from training.engine.devices import Compute
from training.recipes import defaults
from training.recipes.recipe import Recipe

DRY_BATCH = 4


def configure(
    architecture: Architecture,
    recipe: Recipe,
    data: DataSet,
    source: str,
    compute: Compute,
    seed: int = 0,
    weights: str | None = None,
) -> Config:
    """The configuration of a run of this network with this recipe on these data, which came from `source`.

    Raises:
        ValueError: the recipe's image size is too small for the network, or its batch does not suit the devices.
    """
    recipe = replace(recipe, batch_size=min(recipe.batch_size, len(data.train)))
    size, channels = recipe.image_size or architecture.input_shape[0], architecture.input_shape[-1]
    if size < architecture.min_size:
        raise ValueError(f"{architecture.name} takes at least {architecture.min_size} pixels a side; {size} came")
    defaults.check_fit(architecture, recipe)
    if recipe.tuning and not weights:
        raise ValueError(f"the recipe {recipe.name!r} goes on from weights: give --weights TAG_OR_PATH")
    pipeline.check(channels, recipe.augment)
    reader(data, recipe)
    compute.check_batch(recipe.batch_size, recipe.accumulate, recipe.mix is not None)
    own = weights or recipe.normalise == "network"
    return Config(
        architecture=architecture,
        recipe=recipe,
        data=source,
        classes=data.classes,
        preprocessing=architecture.preprocessing if own else normalising(data, channels),
        image_size=size,
        channels=channels,
        seed=seed,
        replicas=compute.replicas,
        precision=compute.precision,
        xla="on" if compute.xla else "off",
        workers=compute.group.count,
        norms=compute.norms,
        weights=weights,
        engine=backend.name,
        version=__version__,
    )


def normalising(data: DataSet, channels: int) -> Preprocessing:
    """Zero mean and unit deviation over the training images, channel by channel."""
    mean, std = data.mean_std()
    if channels == 1 and len(mean) == 3:
        mean, std = ((round(sum(map(mul, TF_LUMA, values)), 4),) for values in (mean, std))
    return Preprocessing(mean, tuple(max(s, 1.0) for s in std))  # an all-black set must not divide by nothing


def dry(config: Config, data: DataSet) -> tuple[Config, DataSet]:
    """One step of everything: one small batch to train on, one to validate, one to test."""
    batch = lcm(DRY_BATCH, config.replicas * config.recipe.accumulate)
    few = {name: getattr(data, name).take(range(min(batch, len(getattr(data, name))))) for name in SPLITS}
    recipe = replace(config.recipe.scaled(1), batch_size=min(batch, len(few["train"])))
    return replace(config, recipe=recipe, dry=True), replace(data, **few)
