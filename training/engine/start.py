"""Before a run: its configuration from a network, a recipe and data; its folder; its small form, the dry run."""

from dataclasses import replace
from operator import mul
from pathlib import Path

from keras_cnns import __version__
from keras_cnns.architecture import Architecture
from keras_cnns.preprocessing import Preprocessing
from training import recipes
from training.data import pipeline
from training.data.dataset import DataSet
from training.engine import config as configs
from training.engine.compute import Compute
from training.engine.config import Config
from training.engine.outcome import finished
from training.engine.setup import SPLITS
from training.recipe import Recipe
from training.report.folder import next_folder

DRY_BATCH = 4
LUMA = (0.2989, 0.587, 0.114)  # as tf.image.rgb_to_grayscale weighs red, green and blue


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
    recipes.check_fit(architecture, recipe)
    pipeline.check(channels, recipe.augment)
    compute.check_batch(recipe.batch_size)
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
        weights=weights,
        version=__version__,
    )


def normalising(data: DataSet, channels: int) -> Preprocessing:
    """Zero mean and unit deviation over the training images, channel by channel."""
    mean, std = data.mean_std()
    if channels == 1 and len(mean) == 3:
        mean, std = ((round(sum(map(mul, LUMA, values)), 4),) for values in (mean, std))
    return Preprocessing(mean, tuple(max(s, 1.0) for s in std))  # an all-black set must not divide by nothing


def take(asked: Path | None, config: Config) -> tuple[Path, dict | None]:
    """The folder to work in and, if that run is finished, its result. None takes the next folder in `runs/`.

    Raises:
        ValueError: the folder holds another run, or something that is no run.
    """
    if asked is None:
        folder = next_folder(Path("runs"), config.architecture.name, config.data)
        configs.write(config, folder)
        return folder, None
    if asked.exists() and not asked.is_dir():
        raise ValueError(f"--run wants a folder; {str(asked)!r} is a file")
    if (asked / "config.json").exists():
        differences = configs.read(asked).differences(config)
        if differences:
            raise ValueError(f"{asked} holds another run ({'; '.join(differences)}); give another --run")
        return asked, finished(asked)
    if asked.is_dir() and any(asked.iterdir()):
        raise ValueError(f"--run wants a new, an empty or a run's folder; {str(asked)!r} holds other files")
    try:
        asked.mkdir(parents=True, exist_ok=True)
        configs.write(config, asked)
    except OSError as error:
        raise ValueError(f"--run {str(asked)!r} cannot be written: {error.strerror or error}") from None
    return asked, None


def dry(config: Config, data: DataSet) -> tuple[Config, DataSet]:
    """One step of everything: one small batch to train on, one to validate, one to test."""
    batch = max(DRY_BATCH, config.replicas)
    few = {name: getattr(data, name).take(range(min(batch, len(getattr(data, name))))) for name in SPLITS}
    recipe = replace(config.recipe.scaled(1), batch_size=min(batch, len(few["train"])))
    return replace(config, recipe=recipe, dry=True), replace(data, **few)
