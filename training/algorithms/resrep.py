"""ResRep in training: gradient resetting, the lasso and the masks of compactors (`keras_cnns.models.resrep`)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import keras
from keras import ops

from keras_cnns.layers import Compactor
from keras_cnns.models import resrep
from keras_cnns.surgery.filters import Costs, compactor_of
from keras_cnns.values import Count, Fraction, Positive, Range
from training.algorithms.algorithm import Algorithm

TINY = 1e-12
OPEN_SIDE = 64  # pixels
QUIET = 5 / 480  # of a run, as published
MASKED_BY = 0.1  # of a run's steps, by which the masks should have reached their target


@dataclass(frozen=True)
class ResRep(Algorithm):
    """ResRep (Ding et al. 2021, arXiv 2007.03260): compactors lose channels until a fraction of the MACs is left.

    Attributes:
        keep_macs: the fraction of the MACs to keep.
        lasso: shortens the rows of a compactor; added to its gradient (lambda).
        masked: the lasso of masked rows. The paper has one lambda; a short run needs a larger one for these rows,
            and as much for all rows would shorten those that are to stay.
        momentum: of the compactors, in place of the optimizer's.
        quiet: epochs before the first mask.
        every: steps between two masks.
        rows: by how many rows a mask may grow.
    """

    keep_macs: Fraction = 0.5
    lasso: Positive = 1e-4
    masked: Positive = 1e-4
    momentum: Fraction = 0.99
    quiet: Annotated[float, Range(0, 65_536)] = 5.0
    every: Count = 200
    rows: Count = 4

    ALIASES: ClassVar[tuple[str, ...]] = ("Forgetting",)

    def scaled(self, by: float) -> "ResRep":
        """A shorter run needs a larger lasso, in proportion, for its rows to become zero."""
        return replace(self, masked=self.masked / by, quiet=self.quiet * by, every=max(1, round(self.every * by)))

    def check_network(self, architecture):
        if not resrep.is_compacted(architecture):
            raise ValueError(f"resrep needs compactors, got {architecture.name}: training/prune.py adds them")

    def attach(self, model, optimizer):
        model.gradient_hook = GradientReset(model, self)
        optimizer.momenta = momenta(model, self.momentum, optimizer.momentum)

    def callbacks(self, progress, say):
        return [ResRepMasks(self, progress, say)]


PAPER = ResRep()


def compactors(model: keras.Model) -> list[Compactor]:
    """A model's compactors, in order."""
    return [layer for layer in model.layers if isinstance(layer, Compactor)]


class GradientReset:
    """Gradient resetting: gradients -> gradients, for `StepModel.gradient_hook`.

    Masked rows get no gradient of the loss; the lasso, lambda times a row's direction, shortens every row, masked
    or not. The direction of a zero row is zero.
    """

    def __init__(self, model: keras.Model, how: ResRep):
        self.masks = {id(layer.kernel): layer.mask for layer in compactors(model)}
        self.model, self.how = model, how

    def __call__(self, gradients: list, variables: list) -> list:
        return [
            self._reset(g, v, self.masks[id(v)]) if id(v) in self.masks else g
            for g, v in zip(gradients, variables, strict=True)
        ]

    def _reset(self, gradient, kernel, mask):
        # The penalty belongs to the update, not to a replica: it is added once, after the sum.
        length = ops.sqrt(ops.sum(ops.square(kernel), axis=0))
        lasso = ops.where(mask > 0, self.how.lasso, self.how.masked)
        lasso = self.model.optimizer.scale_loss(lasso)  # as float16 scales the gradients
        return gradient * mask + lasso * kernel / ops.maximum(length, TINY)


def momenta(model: keras.Model, of_compactors: float, of_others: float) -> tuple[float, ...]:
    """The momentum of every trainable variable: compactors have their own."""
    own = {id(layer.kernel) for layer in compactors(model)}
    return tuple(of_compactors if id(v) in own else of_others for v in model.trainable_variables)


class ResRepMasks(keras.callbacks.Callback):
    """Chooses the masks every `how.every` steps. It has no state: the masks are weights of the compactors."""

    def __init__(self, how: ResRep, progress, say: Callable[[str], None]):
        super().__init__()
        self.how, self.progress, self.say = how, progress, say
        self.quiet = math.ceil(how.quiet * progress.steps)

    def on_train_begin(self, logs=None):
        # With progressive resizing the size is unknown; fractions of the MACs hardly depend on it.
        self.costs = Costs(self.model, tuple(side or OPEN_SIDE for side in self.model.input_shape[1:]))
        self.target = int(self.how.keep_macs * self.costs.full)

    def on_train_batch_end(self, batch, logs=None):
        after = self.progress.place.number - self.quiet
        if after >= 0 and after % self.how.every == 0:
            self.mask()

    def mask(self) -> None:
        """Masks the shortest rows: as many as the target needs, and at most `how.rows` more than now."""
        now = {name: ops.convert_to_numpy(self._layer(name).mask) for name in self.costs.filters}
        masked = sum(int((mask == 0).sum()) for mask in now.values())
        rows = {name: resrep.length(self._layer(name)) for name in now}
        kept = resrep.choose(rows, self.costs, self.target, masked + self.how.rows)
        for name, mask in now.items():
            new = mask * 0
            new[kept[name]] = 1
            self._layer(name).mask.assign(new)

    def on_epoch_end(self, epoch, logs=None):
        kept = {name: int(ops.convert_to_numpy(self._layer(name).mask).sum()) for name in self.costs.filters}
        rows, share = sum(self.costs.filters.values()), self.costs(kept) / self.costs.full
        self.say(f"epoch {epoch + 1}: {rows - sum(kept.values())} of {rows} rows masked, {share:.1%} of the MACs")

    def _layer(self, name: str) -> Compactor:
        return self.model.get_layer(compactor_of(name))


def scaled_constants(total: int, rate: float) -> tuple[float, float]:
    """The lambda and the momentum with which masked rows become zero in a run of `total` steps.

    A masked row of norm 1 shrinks by rate times lambda / (1 - momentum) a step. Under a cosine the rates after the
    first tenth, by when the masks are chosen, add up to 0.4 of `total` times the first one; so lambda must exceed
    (1 - momentum) / (0.4 total rate). Here it is twice that, or the paper's 1e-4 where that is more. A row that
    reaches zero with momentum overshoots, and takes many times 1 / (1 - momentum) steps to settle: the paper's
    0.99 is for 5,000 steps and more.

    >>> scaled_constants(375_000, 0.01)
    (0.0001, 0.99)
    >>> [round(number, 6) for number in scaled_constants(5_000, 0.01)]
    [0.000998, 0.99]
    """
    momentum = min(PAPER.momentum, max(0.9, 1 - 50 / total))
    left = (1 - MASKED_BY) / 2 - math.sin(MASKED_BY * math.pi) / (2 * math.pi)
    return max(PAPER.masked, 2 * (1 - momentum) / (left * total * rate)), momentum


def with_resrep(recipe, costs: Costs, keep_macs: float, steps: int):
    """The recipe with ResRep, fitted to the length of the run.

    After a tenth of the run the masks cover the share of all rows that the MACs are to lose, or half of the rows
    where that is more. They grow by four rows, as published, at least every 200 steps and as often as that needs;
    where every step is not often enough, by more rows.

    Args:
        steps: of an epoch.
    """
    total = recipe.epochs * steps
    masked, momentum = scaled_constants(total, recipe.optimizer.rate)
    growing = (MASKED_BY - QUIET) * total
    rows = math.ceil(max(0.5, 1 - keep_macs) * sum(costs.filters.values()))
    every = min(PAPER.every, max(1, int(growing / math.ceil(rows / PAPER.rows))))
    how = ResRep(
        keep_macs=keep_macs,
        masked=masked,
        momentum=momentum,
        quiet=QUIET * recipe.epochs,
        every=every,
        rows=max(PAPER.rows, math.ceil(rows / max(1, int(growing / every)))),
    )
    return replace(recipe, resrep=how)


def describe(how: ResRep, total: int) -> str:
    """A line for the log: the lasso and the masks of a run, and why."""
    why = "as published"
    if how.masked > PAPER.masked:
        why = (
            f"the published {PAPER.masked:g} is less than twice what brings a row to zero in a run this short: "
            "lambda = 2 (1 - momentum) / (0.4 steps rate)"
        )
    return (
        f"lasso: {how.masked:.2g} on masked rows, {how.lasso:g} on the others, momentum {how.momentum:.3g}, "
        f"{total} steps ({why}); masks: up to {how.rows} more rows every {how.every} steps"
    )
