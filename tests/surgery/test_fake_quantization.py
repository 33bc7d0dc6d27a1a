"""Fake quantization: what is rounded, and that the copy trains."""

import keras
import numpy as np
import pytest
from support import MINIATURES, images, randomise

import keras_cnns
from keras_cnns import layers as ours
from keras_cnns.surgery import fake_quantization
from keras_cnns.surgery.equalise import equalise


def test_a_kernel_has_255_steps_and_a_scale_for_each_filter():
    layer = ours.QuantisedConv2D(2, 1, use_bias=False)
    layer.build((None, 4, 4, 3))
    layer.set_weights([np.array([[1.27, 0.003], [-0.5049, 0.1], [0.0, 12.7]], "float32")[None, None]])
    eye = np.eye(3, dtype="float32")[:, None, None]
    # Steps of 0.01 in the first filter, 0.1 in the second.
    np.testing.assert_allclose(np.asarray(layer(eye))[:, 0, 0], [[1.27, 0], [-0.5, 0.1], [0, 12.7]], atol=1e-6)


def test_the_gradient_goes_through_as_if_nothing_were_rounded():
    import tensorflow as tf

    layer, plain = ours.QuantisedDense(4), keras.layers.Dense(4)
    x = images(5, 3)
    layer(x), plain(x)
    with tf.GradientTape() as tape:
        out = tf.reduce_sum(layer(x) * x[:, :1])
    with tf.GradientTape() as other:
        want = tf.reduce_sum(plain(x) * x[:, :1])
    found, wanted = tape.gradient(out, layer.kernel.value), other.gradient(want, plain.kernel.value)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_ranges_follow_what_is_seen_in_training_only():
    layer = ours.FakeQuantise(momentum=0.5)
    layer.build((None,))
    layer(np.array([-4.0, 9.0], "float32"))
    assert [float(w) for w in layer.weights] == [0, 1]
    layer(np.array([-4.0, 9.0], "float32"), training=True)
    assert [float(w) for w in layer.weights] == [-4, 9]  # wider at once
    layer(np.array([0.0, 1.0], "float32"), training=True)
    assert [float(w) for w in layer.weights] == [-2, 5]  # narrower slowly


@pytest.mark.parametrize("name", ["resnet20", "repvgg_a0"])
def test_a_fake_quantized_copy_is_nearly_the_network_and_gives_its_weights_back(name):
    model = keras_cnns.fuse(randomise(MINIATURES[name](classes=10)))
    x = images(8, *model.input_shape[1:])
    ranges = fake_quantization.calibrate(model, x)
    assert "logits" in ranges
    assert "predictions" not in ranges  # a probability has its own fixed scale
    assert not [n for n in ranges if n.endswith(("_pad", "_add"))]  # a ReLU follows the addition at once
    rounding = fake_quantization.fake_quantize(model, ranges)
    rounded = [la for la in rounding.layers if isinstance(la, ours.FakeQuantise)]
    assert len(rounded) == len(ranges)
    difference = np.abs(np.asarray(rounding(x)) - np.asarray(model(x))).max()
    assert 1e-6 < difference < 0.1
    for layer in rounding.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(layer.kernel + 0.25)
    trained = fake_quantization.copy_weights(model, rounding)
    first = next(la for la in model.layers if isinstance(la, keras.layers.Conv2D))
    np.testing.assert_allclose(trained.get_layer(first.name).kernel, np.asarray(first.kernel) + 0.25, atol=1e-6)


def test_noise_names_the_wide_range():
    """One loud channel widens the steps of all, and drowns them."""
    model = keras_cnns.fuse(randomise(MINIATURES["repvgg_a0"](classes=10)))
    x = images(4, *model.input_shape[1:])
    before = fake_quantization.calibrate(model, x)
    layer = model.get_layer("stage2_unit1_3x3")
    layer.bias.assign(np.asarray(layer.bias) + 500.0 * (np.arange(layer.filters) == 0))
    after = fake_quantization.calibrate(model, x)
    assert after["stage2_unit1_relu"].high > 400
    assert after["stage2_unit1_relu"].noise > 10 * before["stage2_unit1_relu"].noise
    assert after["stage1_unit1_relu"] == before["stage1_unit1_relu"]


@pytest.mark.parametrize("name", ["repvgg_b1g4", "vgg11_bn", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_evened_out_channels_change_nothing_in_float(name):
    model = keras_cnns.fuse(randomise(MINIATURES[name](classes=10)))
    x = images(4, *model.input_shape[1:])
    even = equalise(model, x)
    np.testing.assert_allclose(even(x), model(x), atol=1e-4)
    changed = [la.name for la in model.layers if la.weights and not same(la, even.get_layer(la.name))]
    assert len(changed) > len([la for la in model.layers if la.weights]) / 2


def same(layer, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize("name", [pytest.param("repvgg_a0", marks=pytest.mark.slow), "repvgg_b1g4"])
def test_loud_channels_are_found_and_healed(name):
    """The same network with loud channels and readers that listen less comes back to the same steps."""
    model = keras_cnns.fuse(randomise(MINIATURES[name](classes=10)))
    x = images(8, *model.input_shape[1:])
    quiet = fake_quantization.calibrate(equalise(model, x), x)["stage1_unit1_relu"]
    first, second = (model.get_layer(f"stage1_unit{i}_3x3") for i in (1, 2))
    loud = np.where(np.arange(first.filters) % 4 == 0, 50.0, 1.0).astype("float32")
    first.kernel.assign(first.kernel * loud)
    first.bias.assign(first.bias * loud)
    width = second.kernel.shape[2]
    for group in range(first.filters // width):
        inner = slice(group * width, (group + 1) * width)
        outer = slice(*(second.filters * n // (first.filters // width) for n in (group, group + 1)))
        kernel = np.asarray(second.kernel).copy()
        kernel[..., outer] /= loud[inner, None]
        second.kernel.assign(kernel)
    assert fake_quantization.calibrate(model, x)["stage1_unit1_relu"].noise > 5 * quiet.noise
    healed = fake_quantization.calibrate(equalise(model, x), x)["stage1_unit1_relu"]
    np.testing.assert_allclose(healed.noise, quiet.noise, rtol=1e-3)
