"""A recipe: the paper's "implementation details" paragraph as a frozen value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, Self

from keras_cnns.values import Count, Fraction, Positive, Value, by_name, with_settings
from training.algorithms.algorithm import Algorithm
from training.algorithms.fine_tuning import FineTuning
from training.algorithms.resrep import ResRep
from training.data import mix
from training.data.augment import AUGMENTATIONS
from training.data.mix import CutMix, Mixup, MixupOrCutMix
from training.recipes import schedules
from training.recipes.optimizers import SGD, Adam, Lamb
from training.recipes.schedules import Constant, Factor, ProgressiveResizing, Schedule, Sweep, WarmUp


@dataclass(frozen=True)
class BaseRecipe(Value):
    """What recipes of all tasks have in common; the trainer reads only this.

    Attributes:
        name, citation: the recipe's name and its source.
        epochs: length; times in `schedule` and `warm_up` are epochs of this length.
        batch_size: images a step, over all devices.
        optimizer: with its base learning rate.
        schedule, warm_up: factors on that rate.
        decay: L2 coefficient; decay times the weight is added to its gradient, as papers mean it.
        no_weight_decay: patterns of the paths of weights without decay; none in the early papers, which decay
            biases and norms too.
        clip: largest norm of all gradients together, after their sum over devices and before decay; None is any.
        ema: decay of an exponential moving average of the weights, which is validated and kept; 0 is none.
        keep: weights of the "last" epoch, or of the "best" on the validation split.
        patience: epochs without a better validation after which the run ends (early stopping); None is never.
    """

    name: str
    citation: str
    epochs: Count
    batch_size: Count
    optimizer: SGD | Adam | Lamb
    schedule: Schedule = Constant()
    warm_up: WarmUp = None
    decay: Fraction = 0.0
    no_weight_decay: tuple[str, ...] = ()
    clip: Positive | None = None
    ema: Fraction = 0.0
    keep: Literal["last", "best"] = "last"
    patience: Count | None = None

    PARTS: ClassVar[Mapping[str, Callable]]  # what `--set` and JSON may name
    RENAMED: ClassVar[Mapping[str, str]] = {"undecayed": "no_weight_decay", "average": "ema"}

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        """The algorithms that the recipe's fields hold, in their order."""
        values = (getattr(self, field.name) for field in fields(self))
        return tuple(value for value in values if isinstance(value, Algorithm))

    def scaled(self, epochs: int) -> Self:
        """The same recipe, stretched or compressed to another number of epochs.

        >>> from training.recipes.papers import RECIPES
        >>> RECIPES["wrn_cifar"].scaled(20).schedule.at
        (6.0, 12.0, 16.0)
        """
        by = epochs / self.epochs
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        scaled = {name: v.scaled(by) for name, v in values.items() if isinstance(v, Factor | Algorithm)}
        patience = self.patience and max(1, round(self.patience * by))
        return replace(self, epochs=epochs, patience=patience, **scaled)

    def swept(self, schedule: Sweep, epochs: int) -> Self:
        """The recipe of a learning-rate sweep: rate 1 times the sweep, no warm-up, no averaged weights."""
        optimizer = replace(self.optimizer, rate=1.0)
        return replace(self, optimizer=optimizer, schedule=schedule, warm_up=None, epochs=epochs, ema=0.0)

    def with_settings(self, *settings: str) -> Self:
        """A copy with fields changed by texts such as "optimizer.rate=0.05". Raises ValueError for a bad one."""
        return with_settings(self, settings, self.PARTS)


@dataclass(frozen=True)
class Recipe(BaseRecipe):
    """How to train a classifier.

    Attributes:
        accumulate: forward and backward passes per update, each over one part of a device's images.
        augment: parts applied to training images, in order. Flips are left out where data must not be flipped.
        smoothing: fraction of the label that is spread over all classes.
        mix: Mixup, CutMix, or one of both at random.
        repeated_augmentation: copies of each image in a batch, augmented differently.
        progressive_resizing: smaller images first, for networks that take any size; or None.
        normalise: by the "data"'s own mean and deviation, or by the "network"'s preprocessing.
        image_size: training and test size in pixels; None is the network's own.
        test_crop: fraction of the shorter side that a test crop keeps.
        test_views: the "centre" crop, or the mean probability of "ten": corners, centre and their mirror images.
        initializer: weights as "published"; by He's rule with filters of mean zero ("centred"), with which
            AlexNet, VGG and NIN learn small sets that the published start leaves at chance; or with bottlenecks
            that start as their shortcuts ("identity").
        dropout: rate of the dropout inside units that support it (Wide ResNet).
        fine_tuning: how training continues from other weights; None trains all layers alike from the first step.
        resrep: how the compactors of a network that has them lose channels; None without ResRep.
    """

    accumulate: Count = 1
    augment: tuple[Callable, ...] = ()
    smoothing: Fraction = 0.0
    mix: Mixup | CutMix | MixupOrCutMix | None = None
    repeated_augmentation: Count = 1
    progressive_resizing: ProgressiveResizing | None = None
    normalise: Literal["data", "network"] = "data"
    image_size: Count | None = None
    test_crop: Fraction = 1.0
    test_views: Literal["centre", "ten"] = "centre"
    initializer: Literal["published", "centred", "identity"] = "published"
    dropout: Fraction = 0.0
    fine_tuning: FineTuning | None = None
    resrep: ResRep | None = None

    RENAMED: ClassVar[Mapping[str, str]] = {
        **BaseRecipe.RENAMED,
        "tuning": "fine_tuning",
        "forgetting": "resrep",
        "growing": "progressive_resizing",
        "start": "initializer",
        "repeats": "repeated_augmentation",
    }

    @property
    def soft(self) -> bool:
        """Whether labels are probabilities."""
        return self.smoothing > 0 or self.mix is not None

    def swept(self, schedule, epochs):
        return replace(super().swept(schedule, epochs), progressive_resizing=None)


BASE_PARTS = (*schedules.PARTS, SGD, Adam, Lamb)
PARTS = Recipe.PARTS = {**by_name((*BASE_PARTS, *mix.PARTS, FineTuning, ResRep, Recipe)), **AUGMENTATIONS}
