"""A recipe: the paper's "implementation details" paragraph as a frozen value."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from keras_cnns.values import Count, Fraction, Positive, Range, Value, by_name, with_settings
from training.data import mix
from training.data.augment import AUGMENTATIONS
from training.data.mix import CutMix, Mixup, MixupOrCutMix
from training.recipes import schedules
from training.recipes.optimizers import SGD, Adam, Lamb
from training.recipes.schedules import Constant, Growing, Schedule, WarmUp


@dataclass(frozen=True)
class Tuning(Value):
    """Going on from weights that know other images.

    The classifier starts at zero: its classes are not those that the weights know, even if they are as many. It
    learns alone for `head_epochs` of the recipe; then all layers do, each group (a stage, say) at `by` times the
    rate of the group behind it (Howard & Ruder 2018, arXiv 1801.06146, sections 3.2 and 3.3). Batch norms stay
    as they came, in inference mode: a few images would spoil their statistics.
    """

    head_epochs: Annotated[int, Range(0, 65_536)] = 3
    by: Fraction = 0.7

    def scaled(self, by: float) -> "Tuning":
        return replace(self, head_epochs=round(self.head_epochs * by))


@dataclass(frozen=True)
class Forgetting(Value):
    """ResRep (Ding et al. 2021, arXiv 2007.03260): compactors lose channels until a share of the MACs is left.

    Attributes:
        keep_macs: the share that is to be left.
        lasso: what shortens the rows of a compactor, added to its gradient (lambda).
        masked: the lasso of rows that are masked. One lambda in the paper; a short run needs more for these, and
            as much for all would bring down the rows that are to stay.
        momentum: of the compactors, in place of the optimizer's.
        quiet: epochs before the first mask.
        every: steps between two masks.
        rows: by how many a mask may grow.
    """

    keep_macs: Fraction = 0.5
    lasso: Positive = 1e-4
    masked: Positive = 1e-4
    momentum: Fraction = 0.99
    quiet: Annotated[float, Range(0, 65_536)] = 5.0
    every: Count = 200
    rows: Count = 4

    def scaled(self, by: float) -> "Forgetting":
        """A shorter run needs a larger lasso, in proportion, for its rows to come to zero."""
        return replace(self, masked=self.masked / by, quiet=self.quiet * by, every=max(1, round(self.every * by)))


@dataclass(frozen=True)
class Recipe(Value):
    """How to train.

    Attributes:
        name, citation: what it is and where it stands.
        epochs: length; times in `schedule` and `warm_up` are epochs of this length.
        batch_size: images a step, over all devices.
        optimizer: with its base rate.
        schedule, warm_up: factors on that rate.
        decay: L2 coefficient; decay times the weight is added to its gradient, as papers mean it.
        undecayed: patterns of the paths of weights that are not decayed; none in the early papers, which decay
            biases and norms too.
        clip: largest norm of all gradients together, after their sum over devices and before decay; None is any.
        accumulate: passes over a device's share of a batch, one part each, before one update.
        augment: parts applied to training images, in order. A mirror is left out where data must not be mirrored.
        smoothing: share of the label that is spread over all classes.
        mix: Mixup, CutMix, or one of both by chance.
        repeats: copies of each image in a batch, augmented differently (repeated augmentation).
        growing: smaller images first (progressive resizing), for networks that take any size; or None.
        average: decay of a running average of the weights, which is what is kept at the end (Polyak averaging).
        normalise: by the "data"'s own mean and deviation, or by the "network"'s preprocessing.
        image_size: training and test size in pixels; None is the network's own.
        test_crop: fraction of the shorter side that a test crop keeps.
        test_views: the "centre" crop, or the mean probability of "ten": corners, centre and their mirror images.
        start: weights as "published"; by He's rule with filters of mean zero ("centred"), from which AlexNet, VGG
            and NIN learn small sets that leave the published start at chance; or with bottlenecks that start as
            their shortcuts ("identity").
        dropout: inside units that have a socket for it (Wide ResNet).
        keep: weights of the "last" epoch, or of the "best" on the validation split.
        patience: epochs without a rise of validation top-1 after which the run ends; None never.
        tuning: how a run goes on from weights; None trains all layers alike from the first step.
        forgetting: how the compactors of a network that has them lose channels; None they do not.
    """

    name: str
    citation: str
    epochs: Count
    batch_size: Count
    optimizer: SGD | Adam | Lamb
    schedule: Schedule = Constant()
    warm_up: WarmUp = None
    decay: Fraction = 0.0
    undecayed: tuple[str, ...] = ()
    clip: Positive | None = None
    accumulate: Count = 1
    augment: tuple[Callable, ...] = ()
    smoothing: Fraction = 0.0
    mix: Mixup | CutMix | MixupOrCutMix | None = None
    repeats: Count = 1
    growing: Growing | None = None
    average: Fraction = 0.0
    normalise: Literal["data", "network"] = "data"
    image_size: Count | None = None
    test_crop: Fraction = 1.0
    test_views: Literal["centre", "ten"] = "centre"
    start: Literal["published", "centred", "identity"] = "published"
    dropout: Fraction = 0.0
    keep: Literal["last", "best"] = "last"
    patience: Count | None = None
    tuning: Tuning | None = None
    forgetting: Forgetting | None = None

    @property
    def soft(self) -> bool:
        """Whether labels are probabilities."""
        return self.smoothing > 0 or self.mix is not None

    def scaled(self, epochs: int) -> "Recipe":
        """The same recipe drawn out or pressed together to another number of epochs.

        >>> from training.recipes.papers import RECIPES
        >>> RECIPES["wrn_cifar"].scaled(20).schedule.at
        (6.0, 12.0, 16.0)
        """
        by = epochs / self.epochs
        warm_up = self.warm_up and self.warm_up.scaled(by)
        patience = self.patience and max(1, round(self.patience * by))
        stretched = {"warm_up": warm_up, "patience": patience, "tuning": self.tuning and self.tuning.scaled(by)}
        stretched["forgetting"] = self.forgetting and self.forgetting.scaled(by)
        return replace(self, epochs=epochs, schedule=self.schedule.scaled(by), **stretched)

    def with_settings(self, *settings: str) -> "Recipe":
        """A copy with fields changed by texts such as "optimizer.rate=0.05". Raises ValueError for a bad one."""
        return with_settings(self, settings, PARTS)


PARTS = {**by_name((*schedules.PARTS, *mix.PARTS, SGD, Adam, Lamb, Tuning, Forgetting, Recipe)), **AUGMENTATIONS}
