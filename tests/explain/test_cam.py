"""Grad-CAM against what it must be where it can be said in closed form."""

import keras
import numpy as np
import pytest
from support import MINIATURES, images, randomise

import keras_cnns
from keras_cnns.explain import grad_cam


def test_behind_global_pooling_it_is_the_classifiers_weighted_map():
    """Then the mean gradient of class k in channel c is its weight over the area (Zhou et al. 2016's CAM)."""
    model = randomise(MINIATURES["resnet20"](classes=5))
    x = images(3, 16, 16, 3)
    last = keras_cnns.feature_extractor(model, "stage3")(x)["stage3"].numpy()
    kernel = model.get_layer("logits").kernel.numpy()
    for k in (0, 4):
        cam = np.maximum(last @ kernel[:, k], 0)
        cam = keras.ops.image.resize(cam[..., None], (16, 16), "bilinear").numpy()[..., 0]
        cam /= np.maximum(cam.max((1, 2), keepdims=True), 1e-12)
        np.testing.assert_allclose(grad_cam(model, x, k), cam, atol=1e-4)


def test_it_looks_where_the_class_is():
    """Class 0 is red, class 1 green: each image has a red patch on the left, a green one on the right."""
    image = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="colours")(image)
    x = keras.layers.Dense(2, name="logits")(keras.layers.GlobalMaxPooling2D()(x))
    model = keras.Model(image, keras.layers.Activation("softmax")(x))
    kernel = np.zeros((3, 3, 3, 2), "float32")
    kernel[1, 1, 0, 0] = kernel[1, 1, 1, 1] = 1
    model.get_layer("colours").set_weights([kernel, np.zeros(2)])
    model.get_layer("logits").set_weights([2 * np.eye(2), np.zeros(2)])
    x = np.zeros((2, 24, 24, 3), "float32")
    x[:, 8:12, 2:6, 0] = 1
    x[:, 8:12, 18:22, 1] = 1.5
    heat = grad_cam(model, x, [0, 1])
    assert np.unravel_index(heat[0].argmax(), heat[0].shape)[1] in range(2, 6)
    assert np.unravel_index(heat[1].argmax(), heat[1].shape)[1] in range(18, 22)
    np.testing.assert_array_equal(grad_cam(model, x)[0], heat[1])  # by default the most probable class


@pytest.mark.parametrize("name", ["vgg11_bn", "nin_cifar", "resnet50_v2", "googlenet", "lenet5"])
def test_every_kind_of_head(name):
    small = MINIATURES[name]
    model = randomise(small(classes=4))
    x = images(2, *small.input_shape)
    heat = grad_cam(model, x, classes=2)
    assert heat.shape == x.shape[:3]
    assert np.isfinite(heat).all()
    assert heat.min() >= 0
    assert heat.max() <= 1


def test_a_nested_network_is_a_layer_like_others():
    image = keras.Input((16, 16, 3))
    body = MINIATURES["resnet20"](include_top=False, input_shape=(16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(body(image))
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(pooled))
    assert grad_cam(model, images(2, 16, 16, 3)).shape == (2, 16, 16)


def test_refusals():
    model, x = MINIATURES["resnet20"](classes=3), images(2, 16, 16, 3)
    with pytest.raises(ValueError, match="has no layer 'stage9'"):
        grad_cam(model, x, layer="stage9")
    with pytest.raises(ValueError, match="the output of 'logits' must be a feature map"):
        grad_cam(model, x, layer="logits")
    for classes in (3, -1, [0, 1, 2]):
        with pytest.raises(ValueError, match="classes must be from 0 to 2, one for each image"):
            grad_cam(model, x, classes)
