"""Recipes and variants of networks that experiments use: as published, or shortened for few images."""

from dataclasses import replace

from keras_cnns.architecture import Architecture
from training.data.dataset import DataSet
from training.recipes.defaults import LITTLE
from training.recipes.optimizers import SGD
from training.recipes.papers import RECIPES
from training.recipes.recipe import Recipe
from training.recipes.schedules import Cosine, LinearWarmUp

FEW = 5_000  # images
SHORT = 24  # epochs on few images
SMALL_SIDE = 16  # pixels, for images that are no larger


def fitted(name: str, data: DataSet, **changes) -> Recipe:
    """A recipe of a paper for these data: as published, or shortened to 24 epochs where images are few.

    Its rates suit 64,000 steps. In a few hundred steps ResNet-56 does not begin to learn at a rate of 0.1: few
    images get batches of 64, half the rate, a warm-up, and a cosine.

    Images of up to 16 pixels are resized to 16, not to the paper's 32: the network costs a quarter.
    """
    recipe = RECIPES[name]
    if len(data.train) < FEW:
        recipe = replace(
            recipe.scaled(SHORT),
            citation=f"{recipe.citation}; here its short form for few images",
            batch_size=64,
            optimizer=SGD(0.05, 0.9, nesterov=True),
            schedule=Cosine(),
            warm_up=LinearWarmUp(2),
            augment=recipe.augment if data.mirror else (LITTLE,),
        )
    sides = data.image_shape[:2]
    if None not in sides and max(sides) <= SMALL_SIDE:
        recipe = replace(recipe, image_size=SMALL_SIDE)
    return replace(recipe, **changes)


def named(architecture: Architecture, name: str, **changes) -> Architecture:
    """A variant with its own name."""
    return replace(architecture, name=name, citation=f"{name}, a variant of {architecture.citation}", **changes)
