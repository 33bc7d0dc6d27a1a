"""Going on from weights: the head first, then each group at its share of the rate, norms as they came."""

import keras
import numpy as np
import pytest
from support import MINIATURES, images, randomise

import keras_cnns
from keras_cnns.blocks.head import cross_entropy
from training.algorithms import fine_tuning
from training.engine.step import StepModel
from training.recipes.defaults import FINETUNE
from training.recipes.optimizers import SGD, GradedAdam, GradedMomentum
from training.recipes.recipe import FineTuning

IMAGES, LABELS = images(8, 16, 16, 3), np.arange(8) % 3


def model(shares_by=None, optimizer=None):
    """A small ResNet as the step trains it, norms frozen."""
    keras.utils.set_random_seed(0)
    plain = randomise(MINIATURES["resnet20"](classes=3))
    fine_tuning.set_norms_trainable(plain, False)
    made = StepModel(plain.inputs, [plain.get_layer("logits").output])
    optimizer = optimizer or GradedMomentum(0.1)
    if shares_by is not None:
        optimizer.lr_multipliers = fine_tuning.variable_lr_multipliers(made, shares_by)
    made.compile(optimizer, cross_entropy())
    return made


def fit(made, callbacks=(), epochs=1):
    made.fit(IMAGES, LABELS, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))
    return made


def weights(made):
    return {v.path: v.numpy() for v in made.variables if "metric" not in v.path}


@pytest.mark.parametrize(
    ("name", "ahead"),
    [
        ("resnet20", ["logits"]),
        ("resnet50_v2", ["logits"]),
        ("vgg11_bn", ["logits"]),
        ("lenet5", ["f6"]),
        ("nin_cifar", ["class_maps"]),
    ],
)
def test_the_head_is_the_last_layer_that_learns(name, ahead):
    assert [layer.name for layer in fine_tuning.head(MINIATURES[name](classes=3))] == ahead


def test_auxiliary_heads_are_heads():
    whole = keras_cnns.GoogLeNet(aux_heads=True, classes=3, input_shape=(96, 96, 3))
    found = fine_tuning.lr_multipliers(whole, 0.5)
    assert {name for name, share in found.items() if share == 1} == {
        *("logits", "aux1_conv", "aux1_fc", "aux1_logits", "aux2_conv", "aux2_fc", "aux2_logits"),
    }
    assert [found[f"inception_{n}_1x1"] for n in ("5b", "5a", "4e", "3a")] == [0.5, 0.5, 0.25, 0.125]


SOME = ("resnet20", "vgg11_bn", "lenet5", "repvgg_a0", "nin_cifar")
EVERY = [pytest.param(n, marks=[] if n in SOME else pytest.mark.slow) for n in sorted(MINIATURES)]


@pytest.mark.parametrize("name", EVERY)
def test_shares_fall_from_the_head_to_the_image(name):
    made = MINIATURES[name](classes=3)
    found = fine_tuning.lr_multipliers(made, 0.5)
    assert set(found) == {layer.name for layer in made.layers if layer.trainable_variables}
    order = [found[layer.name] for layer in made.layers if layer.name in found]
    assert order == sorted(order)
    assert order[0] < order[-1] == 1


def test_a_step_moves_every_layer_by_its_share():
    whole, graded = fit(model()), fit(model(0.5))
    start = weights(model())
    by_layer = fine_tuning.lr_multipliers(whole, 0.5)
    for variable in whole.trainable_variables:
        path = variable.path
        moved = weights(whole)[path] - start[path]
        assert np.abs(moved).max() > 0
        share = by_layer[path.split("/")[-2]]
        np.testing.assert_allclose(weights(graded)[path] - start[path], share * moved, rtol=2e-3, atol=1e-6)


def test_adam_takes_the_rate_by_shares_too():
    """Scaling gradients would change nothing for Adam: its first step is the rate, whatever the gradient."""
    start, after = weights(model()), weights(fit(model(0.5, GradedAdam(0.01, epsilon=1e-12))))
    moved = {path: np.abs(after[path] - start[path]).max() for path in start}
    assert moved["logits/kernel"] == pytest.approx(0.01, rel=1e-2)
    assert moved["stage3_unit1_conv1/kernel"] == pytest.approx(0.005, rel=1e-2)
    assert moved["stem_conv/kernel"] == pytest.approx(0.01 / 16, rel=1e-2)


def test_norms_stay_as_they_came():
    start, after = weights(model()), weights(fit(model(0.5), epochs=2))
    norms = [path for path in start if "_norm/" in path]
    assert len(norms) > 10
    for path in norms:
        np.testing.assert_array_equal(after[path], start[path])
    made = model()
    fine_tuning.set_norms_trainable(made, True)
    assert len(made.trainable_variables) > len(model().trainable_variables)


def test_the_head_learns_alone_and_cheaply_then_everything():
    said = []
    start, made = weights(model()), model(0.5)
    fit(made, [fine_tuning.GradualUnfreezing(2, 0.5, said.append)], epochs=2)
    changed = {path for path, value in weights(made).items() if not np.array_equal(value, start[path])}
    assert changed == {"logits/kernel", "logits/bias"}
    assert [v.path for v in made.learning_variables] == ["logits/kernel", "logits/bias"]
    fit(made, [fine_tuning.GradualUnfreezing(0, 0.5, said.append)])
    changed = {path for path, value in weights(made).items() if not np.array_equal(value, start[path])}
    assert changed == {v.path for v in made.trainable_variables}
    assert said[0] == "epoch 1: only logits learns, until epoch 2"
    assert said[1].startswith("epoch 1: all layers learn; factors of the learning rate: logits 1, stem 0.062")


def test_no_backward_pass_through_the_trunk_while_the_head_learns_alone():
    import tensorflow as tf

    def backward(made):
        graph = tf.function(lambda x, y: made.gradients(x, y, None)[2])
        concrete = graph.get_concrete_function(tf.constant(IMAGES), tf.constant(LABELS))
        kinds = [op.type for op in concrete.graph.get_operations()]
        return kinds.count("Conv2DBackpropFilter") + kinds.count("Conv2DBackpropInput")

    made = model()
    assert backward(made) > 10
    made.set_trainable_subset([v for layer in fine_tuning.head(made) for v in layer.trainable_variables])
    assert backward(made) == 0


def test_the_recipe_as_a_value():
    assert FINETUNE.fine_tuning == FineTuning(3, 0.7)
    half = FINETUNE.scaled(6)
    assert (half.fine_tuning.head_epochs, half.patience) == (2, 2)
    assert FINETUNE.with_settings("tuning.by=0.2").fine_tuning.by == 0.2
    assert FINETUNE.with_settings("fine_tuning=none").fine_tuning is None
    assert FINETUNE.with_settings("optimizer=adam").optimizer != SGD()


@pytest.mark.parametrize("name", ["resnet20", "vgg11_bn", "googlenet"])
def test_a_silent_classifier_finds_all_classes_equally_probable(name):
    small = MINIATURES[name]
    made = randomise(small(classes=4))
    fine_tuning.zero_classifier(made)
    np.testing.assert_allclose(made(images(2, *small.input_shape)), 0.25, rtol=1e-5)
