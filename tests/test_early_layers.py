"""Local response normalisation, ceil-mode pooling, channels of a tower."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import images

from keras_cnns.layers import CeilMaxPooling2D, LocalResponseNormalization
from keras_cnns.layers.lrn import local_response

PAPER = (2, 2.0, 1e-4, 0.75)
CAFFE = (2, 1.0, 1e-4 / 5, 0.75)  # GoogLeNet's
STRONG = (1, 0.5, 0.9, 1.3)
WIDE = (7, 1.0, 0.3, 0.5)  # wider than the channels that come


def loop(x, radius, bias, alpha, beta):
    """The formula of section 3.3, value by value, in float64."""
    out = np.empty(x.shape)
    channels = x.shape[-1]
    for place in np.ndindex(x.shape):
        *pixel, i = place
        neighbours = range(max(0, i - radius), min(channels - 1, i + radius) + 1)
        total = sum(float(x[(*pixel, j)]) ** 2 for j in neighbours)
        out[place] = float(x[place]) / (bias + alpha * total) ** beta
    return out


@pytest.mark.parametrize("constants", [PAPER, CAFFE, STRONG, WIDE])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_lrn_is_the_formula(constants, channels):
    """TensorFlow's kernel and the plain operations; the ends have fewer neighbours and do not wrap around."""
    x = 30 * images(2, 3, 2, channels)
    expected = loop(x, *constants)
    np.testing.assert_allclose(LocalResponseNormalization(*constants)(x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(local_response(keras.ops.convert_to_tensor(x), *constants), expected, rtol=1e-4)
    flat = LocalResponseNormalization(*constants)(x[0, 0])  # (n, channels): no 4-D kernel
    np.testing.assert_allclose(flat, expected[0, 0], rtol=1e-4)


def test_lrn_alpha_is_the_papers():
    """Ones: k + 5 alpha in the middle, k + 3 alpha at the ends. Caffe and torch would divide alpha by 5."""
    y = np.array(LocalResponseNormalization(alpha=0.1)(np.ones((1, 1, 1, 7), "float32"))).ravel()
    np.testing.assert_allclose(y[3], 2.5**-0.75, rtol=1e-6)
    np.testing.assert_allclose(y[[0, 1, -1]], [2.3**-0.75, 2.4**-0.75, 2.3**-0.75], rtol=1e-6)
    assert (LocalResponseNormalization().radius, LocalResponseNormalization().bias) == (2, 2.0)


def test_lrn_gradient():
    """Of the kernel and of the plain operations, in a graph compiled with XLA too."""
    x = tf.constant(images(2, 3, 3, 6))
    direction = images(2, 3, 3, 6, seed=5)

    def gradient(function):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(function(x) * direction)
        return tape.gradient(loss, x)

    layer = LocalResponseNormalization(*STRONG)
    expected = gradient(lambda x: local_response(x, *STRONG))
    np.testing.assert_allclose(gradient(layer), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        tf.function(lambda: gradient(layer), jit_compile=True)(), expected, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_lrn_in_other_precisions(policy):
    """The square of 1000 is no float16."""
    x = 1000 * images(2, 3, 3, 6)
    y = LocalResponseNormalization(*PAPER, dtype=policy)(x)
    assert y.dtype == policy.removeprefix("mixed_")
    assert np.all(np.isfinite(tf.cast(y, "float32")))
    np.testing.assert_allclose(tf.cast(y, "float32"), loop(x, *PAPER), rtol=0.03, atol=0.1)


@pytest.mark.parametrize("wrong", [{"radius": -1}, {"radius": 2.0}, {"bias": 0}, {"alpha": -1e-4}])
def test_lrn_refuses(wrong):
    with pytest.raises(ValueError, match=r"must be .*, got"):
        LocalResponseNormalization(**wrong)


# --- ceil-mode pooling ------------------------------------------------------------------------------------------


def ceil_pool(x, pool, stride):
    """Windows from the near edge on until the last cell is covered, clipped at the far edge."""
    starts = [range(0, stride * max(-(-(size - pool) // stride), 0) + 1, stride) for size in x.shape[1:3]]
    cells = [[x[:, i : i + pool, j : j + pool].max((1, 2)) for j in starts[1]] for i in starts[0]]
    return np.stack([np.stack(row, 1) for row in cells], 1)


@pytest.mark.parametrize(("pool", "stride"), [(3, 2), (2, 2)])
def test_ceil_pooling(pool, stride):
    open_size = keras.Input((None, None, 2))
    model = keras.Model(open_size, CeilMaxPooling2D(pool, stride)(open_size))
    assert model.output_shape == (None, None, None, 2)
    for h, w in [(1, 1), (1, 5), (2, 3), (4, 4), (5, 7), (6, 9), (13, 14), (55, 112)]:
        x = np.abs(images(1, h, w, 2))
        expected = ceil_pool(x, pool, stride)
        layer = CeilMaxPooling2D(pool, stride)
        np.testing.assert_array_equal(layer(x), expected)
        np.testing.assert_array_equal(model(x), expected)
        assert layer.compute_output_shape(x.shape) == expected.shape
        assert layer.compute_output_shape((None, None, w, 2)) == (None, None, expected.shape[2], 2)


@pytest.mark.parametrize(("size", "same_as"), [(8, "same"), (14, "same"), (13, "valid"), (27, "valid")])
def test_ceil_pooling_is_same_on_even_and_valid_on_odd_sizes(size, same_as):
    x = np.abs(images(2, size, size, 3))
    np.testing.assert_array_equal(CeilMaxPooling2D(3, 2)(x), keras.layers.MaxPooling2D(3, 2, same_as)(x))


def test_ceil_pooling_of_open_size_in_tflite():
    """Built-in operations only, at an even and an odd size."""
    image = keras.Input((None, None, 2))
    model = keras.Model(image, CeilMaxPooling2D(3, 2)(image))
    function = tf.function(lambda x: model(x), input_signature=[tf.TensorSpec((1, None, None, 2))])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    content = converter.convert()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_content=content)
    for size in (6, 7):
        x = np.abs(images(1, size, size, 2))
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_array_equal(got, model(x))
