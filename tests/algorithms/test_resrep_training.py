"""ResRep in the step: the gradients of masked and other rows, their momentum, the lasso that a short run needs."""

import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from support import MINIATURES, images, randomise

from keras_cnns.blocks.head import cross_entropy
from keras_cnns.models import resrep
from training.algorithms import resrep as resrep_training
from training.engine.step import StepModel
from training.recipes.optimizers import SGD, GradedMomentum
from training.recipes.recipe import Recipe, ResRep

IMAGES, LABELS = images(8, 16, 16, 3), np.arange(8) % 3
HOW = ResRep(lasso=0.01, masked=0.03, momentum=0.99)


def model(how=None):
    """A small ResNet with compactors as the step trains it; every second channel of one is masked."""
    keras.utils.set_random_seed(0)
    plain = resrep.with_compactors(randomise(MINIATURES["resnet20"](classes=3)))
    for i, layer in enumerate(resrep_training.compactors(plain)):
        layer.kernel.assign(np.random.default_rng(i).normal(size=layer.kernel.shape))
    resrep_training.compactors(plain)[0].mask.assign(np.arange(8) % 2)
    resrep_training.compactors(plain)[1].kernel.assign(np.zeros((8, 8)))  # rows that are nothing already
    made = StepModel(plain.inputs, [plain.get_layer("logits").output])
    optimizer = GradedMomentum(0.1, momentum=0.9)
    if how:
        made.gradient_hook = resrep_training.GradientReset(made, how)
        optimizer.momenta = resrep_training.momenta(made, how.momentum, 0.9)
    made.compile(optimizer, cross_entropy())
    return made


def after(made, steps):
    made.fit(np.tile(IMAGES, (steps, 1, 1, 1)), np.tile(LABELS, steps), batch_size=8, shuffle=False, verbose=0)
    return {v.path: v.numpy() for v in made.trainable_variables}


def test_masked_rows_hear_the_penalty_alone_and_others_both():
    start = {v.path: v.numpy() for v in model().trainable_variables}
    plain, forgetful = after(model(), 1), after(model(HOW), 1)
    path = "stage1_unit1_conv1_compactor/kernel"
    rows = start[path] / np.linalg.norm(start[path], axis=0)
    mask = np.arange(8) % 2 == 1
    told = (start[path] - forgetful[path]) / 0.1  # one step of rate 0.1
    task = (start[path] - plain[path]) / 0.1
    assert np.abs(task[:, ~mask]).max() > 1e-3, "the loss would hold on to masked rows"
    np.testing.assert_allclose(told[:, ~mask], 0.03 * rows[:, ~mask], atol=1e-5)
    np.testing.assert_allclose(told[:, mask], (task + 0.01 * rows)[:, mask], rtol=1e-3, atol=1e-5)
    zero = "stage1_unit2_conv1_compactor/kernel"
    np.testing.assert_allclose(forgetful[zero], plain[zero], atol=1e-7)  # no direction, and no division by zero
    others = [p for p in start if "compactor" not in p]
    for p in others:
        np.testing.assert_allclose(forgetful[p], plain[p], rtol=1e-5, atol=1e-7)


def test_compactors_have_their_own_momentum():
    """A masked row with one direction for ever: the second step is 1 + momentum times the first."""
    start = model(HOW).get_layer("stage1_unit1_conv1_compactor").kernel.numpy()[:, 0]
    first, second = (after(model(HOW), n)["stage1_unit1_conv1_compactor/kernel"][:, 0] for n in (1, 2))
    ratio = np.linalg.norm(second - first) / np.linalg.norm(first - start)
    assert ratio == pytest.approx(1 + 0.99, rel=1e-3)


@pytest.mark.parametrize("total", [300, 1_000, 5_000, 20_000])
def test_a_masked_row_comes_to_zero_within_the_run(total):
    """Under the lambda and momentum that are fitted; under the paper's it is still standing in short runs."""

    def end(lasso, momentum):
        row, speed = np.r_[1.0, np.random.default_rng(0).normal(0, 0.1, 15)], 0.0
        for step in range(total // 10, total):
            rate = 0.01 * 0.5 * (1 + math.cos(math.pi * step / total))
            speed = momentum * speed - rate * lasso * row / np.linalg.norm(row)
            row = row + speed
        return np.linalg.norm(row)

    assert end(*resrep_training.scaled_constants(total, 0.01)) < 1e-3
    assert end(1e-4, 0.99) > (0.7 if total <= 5_000 else 1e-3)


@pytest.mark.parametrize("keep", [0.7, 0.5, 0.2])
@pytest.mark.parametrize("total", [150, 2_105, 400_000])
@pytest.mark.parametrize("rows", [336, 1_920, 7_552])  # ResNet-20, ResNet-18, ResNet-50
def test_the_masks_are_complete_in_time_however_wide_the_network(rows, total, keep):
    costs, recipe = SimpleNamespace(filters={"a": rows}), Recipe("r", "c", 1, 8, SGD(0.01, 0.9))
    how = resrep_training.with_resrep(recipe, costs, keep, total).resrep
    masks = math.ceil(max(0.5, 1 - keep) * rows / how.rows)
    assert how.quiet * total + masks * how.every <= 0.1 * total + 2
    assert how.every <= 200
    assert how.rows == 4 or how.every == 1, "by more than four rows only where there is no other way"


def test_a_recipe_that_forgets_is_scaled():
    how = ResRep(quiet=5, every=200, masked=1e-4).scaled(0.1)
    assert (how.quiet, how.every, how.masked, how.lasso) == (0.5, 20, pytest.approx(1e-3), 1e-4)


def test_masks_come_when_they_should_and_grow_by_a_few_rows():
    made, place, said = model(HOW), SimpleNamespace(number=0), []
    for layer in resrep_training.compactors(made):
        layer.mask.assign(np.ones(layer.mask.shape))
    how = ResRep(keep_macs=0.7, quiet=2, every=3, rows=2)
    masks = resrep_training.ResRepMasks(how, SimpleNamespace(place=place, steps=2), said.append)
    masks.set_model(made)
    masks.on_train_begin()

    def masked():
        return sum(int((la.mask.numpy() == 0).sum()) for la in resrep_training.compactors(made))

    counts = []
    for place.number in range(1, 90):
        masks.on_train_batch_end(0)
        counts.append(masked())
    assert counts[:9] == [0, 0, 0, 2, 2, 2, 4, 4, 4], "from step 4 on, every third"
    kept = {name: int(masks._layer(name).mask.numpy().sum()) for name in masks.costs.filters}
    assert masks.costs(kept) <= 0.7 * masks.costs.full
    assert counts[-1] == counts[-9] < sum(masks.costs.filters.values())
    masks.on_epoch_end(0)
    assert f"{counts[-1]} of {sum(masks.costs.filters.values())} rows masked" in said[0]
    # A row that has grown again is released for a shorter one.
    name = next(n for n, k in kept.items() if k < masks.costs.filters[n])
    layer = masks._layer(name)
    gone = int(np.flatnonzero(layer.mask.numpy() == 0)[0])
    kernel = layer.kernel.numpy()
    kernel[:, gone] = 100
    layer.kernel.assign(kernel)
    masks.mask()
    assert layer.mask.numpy()[gone] == 1
