"""Network in Network: 1x1 convolutions as a perceptron of every pixel, class maps instead of dense layers."""

import keras
import numpy as np
import pytest
from support import MINIATURES, images, randomise

from keras_cnns import NIN, NINCIFAR, measure
from keras_cnns.models.nin import Mlpconv, NINBody


def test_two_1x1_layers_are_a_perceptron_of_every_pixel():
    image = keras.Input((5, 6, 7))
    model = randomise(keras.Model(image, Mlpconv(1, (9, 4))(image, "m")))
    x = images(2, 5, 6, 7)
    pixels = x.reshape(-1, 7)
    for layer in ("m_conv1", "m_conv2"):
        kernel, bias = model.get_layer(layer).get_weights()
        pixels = np.maximum(pixels @ kernel[0, 0] + bias, 0)
    np.testing.assert_allclose(np.array(model(x)).reshape(-1, 4), pixels, rtol=1e-5, atol=1e-6)
    dense = keras.Sequential([keras.Input((7,)), *(keras.layers.Dense(n, "relu") for n in (9, 4))])
    assert measure(model).trainable_params == dense.count_params()
    assert measure(model).receptive_field == 1


def test_sizes():
    shapes = {r.name: r.output_shape for r in measure(NIN()).layers}
    assert [shapes[f"mlpconv{i}_conv1"][0] for i in range(1, 5)] == [54, 27, 13, 6]
    assert shapes["class_maps"] == (6, 6, 1000)
    shapes = {r.name: r.output_shape for r in measure(NINCIFAR()).layers}
    assert [shapes[f"mlpconv{i}_conv1"][0] for i in range(1, 4)] == [32, 16, 8]
    assert shapes["class_maps"] == (8, 8, 10)


def test_no_dense_layer():
    for a in (NIN, NINCIFAR):
        layers = a().layers
        assert not any(isinstance(layer, keras.layers.Dense) for layer in layers)
        assert all(layer.use_bias for layer in layers if isinstance(layer, keras.layers.Conv2D))


def test_depth_and_other_classes():
    m = measure(NINCIFAR(classes=100))
    assert (m.trainable_params, m.depth) == (984_356, 9)
    assert measure(NIN(classes=999)).trainable_params == 7_595_176 - 1025
    assert measure(NIN()).depth == 12


@pytest.mark.parametrize("name", ["nin", "nin_cifar"])
def test_a_logit_is_the_mean_of_its_map(name):
    """Behind a ReLU, so it is never below zero."""
    a = MINIATURES[name]
    model = randomise(a())
    parts = keras.Model(model.input, [model.get_layer("class_maps").output, model.get_layer("logits").output])
    maps, logits = map(np.array, parts(images(2, *a.input_shape)))
    assert maps.min() < 0
    np.testing.assert_allclose(logits, np.maximum(maps, 0).mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_without_top_ends_before_the_class_maps():
    assert NIN(include_top=False).output_shape == (None, None, None, 1024)
    assert NINCIFAR(include_top=False).output_shape == (None, None, None, 192)


@pytest.mark.parametrize("side", [32, 38, 39, 47])
def test_small_images_keep_a_cell(side):
    """Below 39 pixels the third pooling has a single cell, where Caffe would have none."""
    bare = MINIATURES["nin"](include_top=False)
    assert np.array(bare(images(1, side, side, 3))).shape[1:3] == (1, 1)


def test_a_row_refuses():
    with pytest.raises(ValueError, match="dropout must have"):
        NINBody((Mlpconv(3, (8,)),), dropout=(0.5,))
    with pytest.raises(ValueError, match=r"Mlpconv.pad must be"):
        Mlpconv(3, (8,), pad=-1)


def test_dropout_stands_where_it_stood():
    def dropouts(a):
        return [layer.name for layer in a().layers if isinstance(layer, keras.layers.Dropout)]

    assert dropouts(MINIATURES["nin"]) == ["dropout3"]
    assert dropouts(MINIATURES["nin_cifar"]) == ["dropout1", "dropout2"]
