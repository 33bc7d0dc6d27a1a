"""From arguments or values to what a run of a classifier is made of."""

import os
from dataclasses import replace
from operator import mul

from keras_cnns import __version__, zoo
from keras_cnns.architecture import Architecture
from keras_cnns.deep import deep_recursion
from keras_cnns.models.googlenet import GoogLeNetArchitecture
from keras_cnns.preprocessing import Preprocessing
from keras_cnns.weights.loading import given
from training.classification.config import Config, starting_weights, with_run_preprocessing
from training.classification.task import ClassificationTask, reader
from training.data import pipeline, sources
from training.data.augment import drop_unsafe_flips
from training.data.colour import TF_LUMA
from training.data.dataset import DataSet
from training.engine import cluster
from training.engine.backends import backend
from training.engine.devices import Compute
from training.recipes import defaults
from training.recipes.recipe import Recipe
from training.report.stream import log_messages_to
from training.trainer.run import RunSpec


def prepare(args) -> RunSpec:
    """The run that the arguments of `fit.py` ask for.

    Raises:
        ValueError: a bad argument.
    """
    like = _like(args)
    name = like.architecture.name if like else args.arch or "resnet20"
    source = args.data or (like.data if like else "digits")
    weights = args.weights or (starting_weights(like, args.like) if like else None)
    seed = args.seed if args.seed is not None else like.seed if like else 0
    architecture = like.architecture if like else zoo.architecture(name)
    asked = given(weights, name) if weights else None
    if asked:
        with log_messages_to([].append):
            asked.fetch()  # before there is a run folder
            architecture = with_run_preprocessing(architecture.for_weights(weights), asked.path)
    if args.epochs and args.budget:
        raise ValueError("--epochs and --budget say the same thing: give one of them")
    defaults.check_name(args.recipe)
    compute = _devices(args)
    data = sources.load(source)
    if like:
        recipe = like.recipe.scaled(args.epochs) if args.epochs else like.recipe
    else:
        recipe = defaults.choose(architecture, data, source, args.recipe, args.epochs, args.budget)
    if args.batch_size:
        recipe = replace(recipe, batch_size=args.batch_size)
    recipe = recipe.with_settings(*args.set)
    backend.check_supported(args, recipe)
    config = configure(architecture, recipe, data, source, compute, seed, asked and asked.asked)
    if asked and asked.path:  # a file may not fit: known before there is a run folder
        with log_messages_to([].append), deep_recursion():
            asked.load(config.build())
    return RunSpec(ClassificationTask, config, data, compute, _notes(config, data, compute))


def _like(args) -> Config | None:
    """The configuration of the run that `--like` names."""
    for option in ("arch", "recipe", "budget") if args.like else ():
        if getattr(args, option):
            raise ValueError(f"--like names the network and the recipe: leave out --{option}")
    return Config.read(args.like) if args.like else None


def _devices(args) -> Compute:
    group = cluster.group(args.workers, args.worker_index, os.environ.get("TF_CONFIG"))
    norms = "synchronised" if args.sync_bn else "own"
    how = (args.replicas, args.precision, args.xla, args.deterministic)
    return backend.choose(*how, replace(group, timeout=args.worker_timeout), norms)


def _notes(config: Config, data: DataSet, compute: Compute) -> tuple[str, ...]:
    """Lines for the log."""
    recipe, heads = config.recipe, []
    if isinstance(config.architecture, GoogLeNetArchitecture):
        trained = "trained, too" if config.has_training_heads else "left out below 80 pixels"
        heads.append(f"auxiliary heads: {trained}")
    return (
        f"data: {data.origin}",
        *(f"left out: {path}: {reason}" for path, reason in data.skipped),
        f"data: {len(data.train)} train, {len(data.val)} val, {len(data.test)} test, {len(data.classes)} classes",
        *(f"data: {line}" for line in pipeline.conversions(data, config.image_size, config.channels)),
        *drop_unsafe_flips(recipe.augment, data)[1],
        *heads,
        f"recipe: {recipe.name}, {recipe.epochs} epochs, batch size {recipe.batch_size} ({recipe.citation})",
        compute.why,
    )


def configure(
    architecture: Architecture,
    recipe: Recipe,
    data: DataSet,
    source: str,
    compute: Compute,
    seed: int = 0,
    weights: str | None = None,
) -> Config:
    """The configuration of a run: a network with a recipe on data; `source` is what `--data` named.

    Raises:
        ValueError: the recipe's image size is too small for the network, or its batch does not suit the devices.
    """
    recipe = replace(recipe, batch_size=min(recipe.batch_size, len(data.train)))
    size, channels = recipe.image_size or architecture.input_shape[0], architecture.input_shape[-1]
    if size < architecture.min_size:
        raise ValueError(f"{architecture.name} takes at least {architecture.min_size} pixels a side, got {size}")
    defaults.check_fit(architecture, recipe)
    if not weights and any(algorithm.needs_weights for algorithm in recipe.algorithms):
        raise ValueError(f"the recipe {recipe.name!r} starts from weights: give --weights TAG_OR_PATH")
    pipeline.check(channels, recipe.augment)
    reader(data, recipe)
    compute.check_batch(recipe.batch_size, recipe.accumulate, recipe.mix is not None)
    own = weights or recipe.normalise == "network"
    return Config(
        architecture=architecture,
        recipe=recipe,
        data=source,
        classes=data.classes,
        preprocessing=architecture.preprocessing if own else normalization(data, channels),
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


def normalization(data: DataSet, channels: int) -> Preprocessing:
    """Zero mean and unit deviation over the training images, channel by channel."""
    mean, std = data.mean_std()
    if channels == 1 and len(mean) == 3:
        mean, std = ((round(sum(map(mul, TF_LUMA, values)), 4),) for values in (mean, std))
    return Preprocessing(mean, tuple(max(s, 1.0) for s in std))  # an all-black set must not divide by nothing
