"""ResRep in training: what the compactors hear of the loss, the lasso, and the masks (`models.resrep`)."""

import math
from collections.abc import Callable
from dataclasses import replace

import keras
from keras import ops

from keras_cnns.layers import Compactor
from keras_cnns.models import resrep
from keras_cnns.surgery.filters import Costs, compactor_of
from training.classification.config import Config
from training.recipes.recipe import Forgetting, Recipe
from training.trainer.checkpoint_saver import ProgressCounter

TINY = 1e-12
PAPER = Forgetting()
QUIET = 5 / 480  # of a run, as published
MASKED_BY = 0.1  # of a run's steps, by which the masks should have reached their target


def compactors(model: keras.Model) -> list[Compactor]:
    """A model's compactors, in order."""
    return [layer for layer in model.layers if isinstance(layer, Compactor)]


class GradientReset:
    """Gradient resetting: gradients -> gradients, for `StepModel.gradient_hook`.

    Masked rows do not hear the loss; every row, masked or not, is shortened by the lasso, its direction times
    lambda. Where a row is nothing its direction is none.
    """

    def __init__(self, model: keras.Model, how: Forgetting):
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


def momenta(model: keras.Model, recipe: Recipe) -> tuple[float, ...]:
    """The momentum of every trainable variable: compactors have their own."""
    own = {id(layer.kernel) for layer in compactors(model)}
    return tuple(
        recipe.forgetting.momentum if id(v) in own else recipe.optimizer.momentum
        for v in model.trainable_variables
    )


class ResRepMasks(keras.callbacks.Callback):
    """Chooses the masks anew every so many steps. It has no state: the masks are weights of the compactors."""

    def __init__(self, config: Config, steps: int, counter: ProgressCounter, say: Callable[[str], None]):
        super().__init__()
        self.how, self.shape, self.counter, self.say = config.recipe.forgetting, config.input_shape, counter, say
        self.quiet = math.ceil(self.how.quiet * steps)

    def on_train_begin(self, logs=None):
        self.costs = Costs(self.model, self.shape)
        self.target = int(self.how.keep_macs * self.costs.full)

    def on_train_batch_end(self, batch, logs=None):
        after = self.counter.place.number - self.quiet
        if after >= 0 and after % self.how.every == 0:
            self.mask()

    def mask(self) -> None:
        """Masks the shortest rows: as many as the target takes, and no more than a few more than now."""
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
        gone = sum(self.costs.filters.values()) - sum(kept.values())
        share = self.costs(kept) / self.costs.full
        self.say(
            f"epoch {epoch + 1}: {gone} of {sum(self.costs.filters.values())} rows masked, {share:.1%} of the MACs"
        )

    def _layer(self, name: str) -> Compactor:
        return self.model.get_layer(compactor_of(name))


def scaled_constants(total: int, rate: float) -> tuple[float, float]:
    """How masked rows come to zero in a run of `total` steps: (their lambda, the compactors' momentum).

    A masked row of norm 1 shrinks by rate times lambda / (1 - momentum) a step. Under a cosine the rates after the
    first tenth, by when the masks are chosen, add up to 0.4 of `total` times the first one; so lambda must exceed
    (1 - momentum) / (0.4 total rate). Here it is twice that, or the paper's 1e-4 where that is more. A row that
    comes to zero with momentum goes on beyond it, and takes many times 1 / (1 - momentum) steps to settle: the
    paper's 0.99 is for 5,000 steps and more.

    >>> fitted(375_000, 0.01)
    (0.0001, 0.99)
    >>> [round(number, 6) for number in fitted(5_000, 0.01)]
    [0.000998, 0.99]
    """
    momentum = min(PAPER.momentum, max(0.9, 1 - 50 / total))
    left = (1 - MASKED_BY) / 2 - math.sin(MASKED_BY * math.pi) / (2 * math.pi)
    return max(PAPER.masked, 2 * (1 - momentum) / (left * total * rate)), momentum


def with_resrep(recipe: Recipe, costs: Costs, keep_macs: float, steps: int) -> Recipe:
    """The recipe with ResRep's forgetting, fitted to a run of so many steps an epoch.

    After a tenth of the run the masks have the share of all rows that is to go of the MACs, or half of them, where
    that is more. They grow by four rows, as published, as often as that takes and at least every 200 steps; where
    every step is not often enough, by more rows.
    """
    total = recipe.epochs * steps
    masked, momentum = scaled_constants(total, recipe.optimizer.rate)
    growing = (MASKED_BY - QUIET) * total
    rows = math.ceil(max(0.5, 1 - keep_macs) * sum(costs.filters.values()))
    every = min(PAPER.every, max(1, int(growing / math.ceil(rows / PAPER.rows))))
    how = Forgetting(
        keep_macs=keep_macs,
        masked=masked,
        momentum=momentum,
        quiet=QUIET * recipe.epochs,
        every=every,
        rows=max(PAPER.rows, math.ceil(rows / max(1, int(growing / every)))),
    )
    return replace(recipe, forgetting=how)


def describe(how: Forgetting, total: int) -> str:
    """The lasso and the masks of a run, and why."""
    why = "as published"
    if how.masked > PAPER.masked:
        why = (
            f"the published {PAPER.masked:g} is less than twice what brings a row to zero in so short a run: "
            "lambda = 2 (1 - momentum) / (0.4 steps rate)"
        )
    return (
        f"lasso: {how.masked:.2g} on masked rows, {how.lasso:g} on the others, momentum {how.momentum:.3g}, "
        f"{total} steps ({why}); masks: up to {how.rows} more rows every {how.every} steps"
    )
