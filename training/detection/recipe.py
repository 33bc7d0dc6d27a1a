"""How a detector is trained: recipes of the paper, and a short one for small sets from nothing."""

from dataclasses import dataclass, replace

from keras_cnns.errors import unknown
from keras_cnns.values import Count, Fraction, Positive, Value, by_name, with_settings
from training.detection.pipeline import ResizeRule
from training.recipes import schedules
from training.recipes.optimizers import SGD, Adam
from training.recipes.papers import BIASES, NORMS
from training.recipes.schedules import Constant, Cosine, LinearWarmUp, Schedule, Steps, WarmUp


@dataclass(frozen=True)
class DetectionRecipe(Value):
    """How to train a detector; fields of the same names mean what they do in `training.recipes.recipe.Recipe`.

    Attributes:
        fit: the size of the images.
        measure_every: epochs between two measurings of the validation split.
    """

    name: str
    citation: str
    epochs: Count
    batch_size: Count
    optimizer: SGD | Adam
    schedule: Schedule = Constant()
    warm_up: WarmUp = None
    decay: Fraction = 0.0
    undecayed: tuple[str, ...] = ()
    clip: Positive | None = None
    fit: ResizeRule = ResizeRule()
    measure_every: Count = 1

    def scaled(self, epochs: int) -> "DetectionRecipe":
        """The same recipe drawn out or pressed together to another number of epochs."""
        by = epochs / self.epochs
        warm_up = self.warm_up and self.warm_up.scaled(by)
        return replace(self, epochs=epochs, schedule=self.schedule.scaled(by), warm_up=warm_up)

    def with_settings(self, *settings: str) -> "DetectionRecipe":
        """A copy with fields changed by texts such as "optimizer.rate=0.05". Raises ValueError for a bad one."""
        return with_settings(self, settings, PARTS)


PARTS = by_name((*schedules.PARTS, SGD, Adam, ResizeRule, DetectionRecipe))

# The paper counts updates of two images, whatever the set: 80,000 are 32 epochs of VOC 2007's 5,011 images.
VOC = DetectionRecipe(
    "voc",
    "Ren et al. 2015, section 3.3, and He et al. 2015, appendix A: 60,000 updates at 0.001, 20,000 at a tenth",
    epochs=32,
    batch_size=2,
    optimizer=SGD(1e-3, 0.9),
    schedule=Steps((24,), 0.1),
    decay=5e-4,
    undecayed=BIASES,
)
COCO = replace(
    VOC,
    name="coco",
    citation="He et al. 2015, appendix A: 240,000 updates of 8 images at 0.001, 80,000 at a tenth",
    epochs=32,
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
    undecayed=BIASES + NORMS,
    clip=10.0,
    fit=ResizeRule(256, 256),
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
    """A recipe for so many images: as many updates as the paper says, or `epochs`."""
    recipe = RECIPES[name]
    if epochs is None and name in UPDATES:
        epochs = max(1, round(UPDATES[name] * recipe.batch_size / images))
    return recipe.scaled(epochs) if epochs else recipe
