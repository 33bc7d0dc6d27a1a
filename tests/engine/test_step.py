"""The training step: the papers' weight decay, momentum across a change of rate, the wait for input."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_cnns.blocks.head import cross_entropy
from keras_cnns.preprocessing import TORCH
from training.engine.step import SoftCrossEntropy, StepModel, steps_done
from training.recipes.schedules import Constant, Rate, Steps


def linear(decay=0.0, undecayed=(), optimizer=None):
    """Softmax regression as a StepModel."""
    keras.utils.set_random_seed(1)
    image = keras.Input((6,))
    model = StepModel(image, keras.layers.Dense(3, name="logits")(image), decay, undecayed)
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), cross_entropy())
    return model


def batches(steps, size=8):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(steps, size, 6)).astype("float32")
    labels = rng.integers(0, 3, (steps, size)).astype("int32")
    return images, labels


def reference(kernel, bias, images, labels, rates, decay, decay_bias):
    """SGD with momentum 0.9 as Caffe writes it: v <- 0.9 v - rate (g + decay w), w <- w + v."""
    v, vb = np.zeros_like(kernel), np.zeros_like(bias)
    for x, y, rate in zip(images, labels, rates, strict=True):
        z = x @ kernel + bias
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(y)), y] -= 1
        g, gb = x.T @ p / len(y), p.mean(0)
        v = 0.9 * v - rate * (g + decay * kernel)
        vb = 0.9 * vb - rate * (gb + decay_bias * bias)
        kernel, bias = kernel + v, bias + vb
    return kernel, bias


@pytest.mark.parametrize(("undecayed", "on_bias"), [((), 0.05), (("*/bias",), 0.0)])
def test_decay_is_added_to_the_gradient_across_a_change_of_rate(undecayed, on_bias):
    rate = Rate(0.1, Steps((2,), 0.1), None, 4, 2)
    model = linear(0.05, undecayed, keras.optimizers.SGD(rate, momentum=0.9))
    model.trainable_variables[1].assign([0.5, -0.5, 1.0])
    images, labels = batches(8)
    before = [v.numpy() for v in model.trainable_variables]
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    model.fit(data, epochs=1, steps_per_epoch=8, verbose=0, shuffle=False)
    expected = reference(*before, images, labels, [0.1] * 4 + [0.01] * 4, 0.05, on_bias)
    for got, want in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)
    assert steps_done(model) == 8


def test_reported_loss_and_top1_are_those_of_the_batches():
    model = linear(optimizer=keras.optimizers.SGD(0.0))
    images, labels = batches(4)
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    logs = model.fit(data, epochs=1, verbose=0, shuffle=False).history
    logits = images.reshape(-1, 6) @ model.trainable_variables[0].numpy()
    flat = labels.ravel()
    loss = -np.log(np.exp(logits)[np.arange(len(flat)), flat] / np.exp(logits).sum(1))
    assert logs["loss"][0] == pytest.approx(loss.mean(), rel=1e-5)
    assert logs["top1"][0] == pytest.approx((logits.argmax(1) == flat).mean())
    assert model.evaluate(data, verbose=0, return_dict=True)["loss"] == pytest.approx(loss.mean(), rel=1e-5)


def test_waiting_for_input_is_measured():
    images, labels = batches(6)

    def slow():
        for pair in zip(images, labels, strict=True):
            time.sleep(0.05)
            yield pair

    signature = (tf.TensorSpec((8, 6)), tf.TensorSpec((8,), tf.int32))
    model = linear()
    late = tf.data.Dataset.from_generator(slow, output_signature=signature)
    model.fit(late, steps_per_epoch=6, verbose=0, shuffle=False)
    assert model.data_wait_seconds > 6 * 0.04
    fast = linear()
    fast.fit(tf.data.Dataset.from_tensor_slices((images, labels)).cache(), verbose=0, shuffle=False)
    assert fast.data_wait_seconds < model.data_wait_seconds


@pytest.mark.parametrize("several", [2, 3, 10])
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # so Keras learns how many there are
@pytest.mark.parametrize("counted", [True, False])
def test_several_steps_an_execution_are_the_same_steps(several, counted):
    """Seven batches, which neither two nor three divides; evaluation sees all of them, too."""
    data = tf.data.Dataset.from_tensor_slices(batches(7))
    data = data if counted else data.filter(lambda images, labels: True)
    found = []
    for steps in (1, several):
        model, calls = linear(), []
        sgd = keras.optimizers.SGD(0.1, momentum=0.9)
        model.compile(sgd, cross_entropy(), steps_per_execution=steps)
        heard = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs, to=calls: to.append(batch))
        options = {"validation_data": data, "verbose": 0, "shuffle": False, "callbacks": [heard]}
        history = model.fit(data, epochs=2, **options).history
        assert len(calls) == 2 * -(-7 // steps)
        assert steps_done(model) == 14
        found.append((history, [v.numpy() for v in model.trainable_variables]))
    (one, weights), (other, others) = found
    assert one == other
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("xla", [False, True])
def test_bytes_are_prepared_on_the_device(xla, parts):
    """The traced step takes bytes, and does with them what it does with prepared images."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (3, 8, 4, 4, 3), "uint8"), rng.integers(0, 3, (3, 8)).astype("int32")
    found = []
    for fed, prepare in ((images, TORCH), (TORCH(images), None)):
        keras.utils.set_random_seed(1)
        image = keras.Input((4, 4, 3))
        answer = keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(image))
        model = StepModel(image, answer, accumulate=parts, preprocess=prepare)
        model.compile(keras.optimizers.SGD(0.1), cross_entropy(), xla=xla)
        data = tf.data.Dataset.from_tensor_slices((fed, labels))
        history = model.fit(data, validation_data=data, verbose=0, shuffle=False).history
        found.append((history, [v.numpy() for v in model.trainable_variables]))
    (one, weights), (other, others) = found
    assert one.keys() == other.keys()
    for a, b in zip([*one.values(), *weights], [*other.values(), *others], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_it_learns_is_in_the_plain_model():
    image = keras.Input((6,))
    logits = keras.layers.Dense(3, name="logits")(image)
    plain = keras.Model(image, keras.layers.Softmax()(logits))
    step = StepModel(plain.inputs, logits)
    step.compile(keras.optimizers.SGD(Rate(0.1, Constant(), None, 1, 1)), cross_entropy())
    before = plain.weights[0].numpy()
    step.train_on_batch(*(a[0] for a in batches(1)))
    assert np.abs(plain.weights[0].numpy() - before).max() > 1e-4
    assert step.weights[0] is plain.weights[0]


def test_float16_loss_scaling_leaves_update_and_decay_unscaled():
    images, labels = batches(3)
    ends = []
    for optimizer in (
        keras.optimizers.SGD(0.1),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=1024.0),
    ):
        model = linear(0.05, (), optimizer)
        model.fit(tf.data.Dataset.from_tensor_slices((images, labels)), verbose=0, shuffle=False)
        ends.append(model.trainable_variables[0].numpy())
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-5, atol=1e-6)


def test_soft_labels_are_the_cross_entropy_with_probabilities():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 3)).astype("float32")
    labels = np.array([0, 2, 1, 1, 0])
    soft = 0.9 * np.eye(3, dtype="float32")[labels] + 0.1 / 3
    loss = SoftCrossEntropy(reduction=None)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(loss(labels, logits), -log_p[np.arange(5), labels], rtol=1e-5)
    np.testing.assert_allclose(loss(soft, logits), -(soft * log_p).sum(1), rtol=1e-5)


def test_training_heads_have_their_share_of_the_gradient():
    image = keras.Input((6,))
    body = keras.layers.Dense(4, name="body")
    heads = [keras.layers.Dense(3, name=name) for name in ("logits", "aux1_logits")]
    features = body(image)
    model = StepModel(image, [h(features) for h in heads], loss_weights=(1.0, 0.3))
    model.compile(keras.optimizers.SGD(1.0), cross_entropy())
    images, labels = (a[0] for a in batches(1))
    alone = []
    for head in heads:
        with tf.GradientTape() as tape:
            loss = cross_entropy()(labels, head(body(images)))
        alone.append(tape.gradient(loss, body.kernel.value))
    before = body.kernel.numpy()
    logs = model.train_on_batch(images, labels, return_dict=True)
    np.testing.assert_allclose(before - body.kernel.numpy(), alone[0] + 0.3 * alone[1], rtol=1e-4, atol=1e-6)
    assert set(logs) == {"loss", "top1"}
    with pytest.raises(ValueError, match="2 outputs need as many loss_weights"):
        StepModel(image, [h(features) for h in heads])
