"""One kernel a weight, and Keras' numbers to the last digit."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.recipes.optimizers import Momentum


def trained(kind, **options) -> list[np.ndarray]:
    """Weights and optimizer state after five steps of random gradients."""
    rng = np.random.default_rng(0)
    weights = [keras.Variable(np.arange(35, dtype="float32").reshape(5, 7)) for _ in range(2)]
    optimizer = kind(0.1, **options)
    optimizer.build(weights)
    step = tf.function(lambda *gradients: optimizer.apply(gradients, weights))
    for _ in range(5):
        step(*(tf.constant(rng.normal(size=(5, 7)), tf.float32) for _ in weights))
    return [keras.ops.convert_to_numpy(v) for v in (*weights, *optimizer.variables)]


@pytest.mark.parametrize(
    "options", [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.0}], ids=str
)
def test_the_numbers_are_those_of_keras(options):
    ours, theirs = trained(Momentum, **options), trained(keras.optimizers.SGD, **options)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_kernel_a_weight():
    weights = [keras.Variable(np.ones(3, "float32")) for _ in range(2)]
    optimizer = Momentum(0.1, momentum=0.9)
    optimizer.build(weights)
    step = tf.function(lambda g: optimizer.apply([g, g], weights), autograph=False)
    kinds = [op.type for op in step.get_concrete_function(tf.TensorSpec((3,))).graph.get_operations()]
    assert kinds.count("ResourceApplyKerasMomentum") == 2
    assert not {"Mul", "Sub"} & set(kinds)
