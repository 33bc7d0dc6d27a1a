"""Recipes of detectors: those of the papers, and a short one for small sets without pretrained weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from keras_cnns.errors import unknown
from keras_cnns.values import Count, by_name
from training.detection.pipeline import ResizeRule
from training.recipes.optimizers import SGD
from training.recipes.papers import BIASES, NORMS
from training.recipes.recipe import BASE_PARTS, BaseRecipe
from training.recipes.schedules import Cosine, LinearWarmUp, Steps


@dataclass(frozen=True)
class DetectionRecipe(BaseRecipe):
    """How to train a detector; "best" and `patience` use AP50 of the validation split where it is measured.

    Attributes:
        resize: the size of the images.
        measure_every: epochs between two measurements of the validation split.
    """

    resize: ResizeRule = ResizeRule()
    measure_every: Count = 1

    RENAMED: ClassVar[Mapping[str, str]] = {**BaseRecipe.RENAMED, "fit": "resize"}


PARTS = DetectionRecipe.PARTS = by_name((*BASE_PARTS, ResizeRule, DetectionRecipe))

# The paper counts updates of two images, whatever the set: 80,000 are 32 epochs of VOC 2007's 5,011 images.
VOC = DetectionRecipe(
    "voc",
    "Ren et al. 2015, section 3.3, and He et al. 2015, appendix A: 60,000 updates at 0.001, 20,000 at a tenth",
    epochs=32,
    batch_size=2,
    optimizer=SGD(1e-3, 0.9),
    schedule=Steps((24,), 0.1),
    decay=5e-4,
    no_weight_decay=BIASES,
)
COCO = replace(
    VOC,
    name="coco",
    citation="He et al. 2015, appendix A: 240,000 updates of 8 images at 0.001, 80,000 at a tenth",
    batch_size=8,
    measure_every=4,
)
UPDATES = {"voc": 80_000, "coco": 320_000}
QUICK = DetectionRecipe(
    "quick",
    "a short run from nothing on small images: momentum, warm-up and cosine, batch norms live",
    epochs=8,
    batch_size=8,
    optimizer=SGD(0.02, 0.9),
    schedule=Cosine(),
    warm_up=LinearWarmUp(1),
    decay=1e-4,
    no_weight_decay=BIASES + NORMS,
    clip=10.0,
    resize=ResizeRule(256, 256),
    measure_every=4,
)
RECIPES = {recipe.name: recipe for recipe in (VOC, COCO, QUICK)}


def named(name: str | None, data: str) -> str:
    """The name of a run's recipe: as asked, else VOC's and COCO's on their sets and the short one elsewhere.

    Raises:
        ValueError: no such recipe.
    """
    if name is not None and name not in RECIPES:
        raise ValueError(unknown("recipe", name, RECIPES))
    return name or next((own for own in UPDATES if data.startswith(own)), QUICK.name)


def choose(name: str, images: int, epochs: int | None) -> DetectionRecipe:
    """A recipe for a number of images: as many updates as in the paper, or `epochs`."""
    recipe = RECIPES[name]
    if epochs is None and name in UPDATES:
        epochs = max(1, round(UPDATES[name] * recipe.batch_size / images))
    return recipe.scaled(epochs) if epochs else recipe
