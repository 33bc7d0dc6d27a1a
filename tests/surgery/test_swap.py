"""Other layers in a finished network; the rest is a copy."""

import keras
import numpy as np
import pytest
from keras import layers as L
from support import MINIATURES, images, randomise

import keras_cnns
from keras_cnns.surgery.graph_editor import GraphEditor


def test_nothing_swapped_is_a_copy():
    model = randomise(MINIATURES["resnet20"]())
    copy = keras_cnns.swap(model, lambda layer: layer)
    assert [x.name for x in copy.layers] == [x.name for x in model.layers]
    assert not {id(x) for x in copy.layers} & {id(x) for x in model.layers}
    x = images(2, 16, 16, 3)
    np.testing.assert_array_equal(model(x), copy(x))


def test_weights_go_over_where_they_fit():
    model = randomise(MINIATURES["resnet20"]())

    def stock(layer):
        if isinstance(layer, keras.layers.BatchNormalization):
            return keras.layers.BatchNormalization(epsilon=layer.epsilon)
        return layer

    swapped = keras_cnns.swap(model, stock)
    assert type(swapped.get_layer("stem_conv_norm")) is keras.layers.BatchNormalization
    x = images(2, 16, 16, 3)
    np.testing.assert_allclose(model(x), swapped(x), rtol=1e-4, atol=1e-6)


def test_fresh_weights_are_logged(caplog):
    model = MINIATURES["resnet20"]()
    with caplog.at_level("INFO", "keras_cnns"):
        swapped = keras_cnns.swap(
            model,
            lambda layer: L.GroupNormalization(groups=4) if isinstance(layer, L.BatchNormalization) else layer,
        )
    assert isinstance(swapped.get_layer("stem_conv_norm"), L.GroupNormalization)
    assert "stem_conv_norm (GroupNormalization) starts with fresh weights" in caplog.text


def test_none_leaves_a_layer_out():
    model = MINIATURES["resnet20"]()
    swapped = keras_cnns.swap(model, lambda layer: None if isinstance(layer, L.BatchNormalization) else layer)
    assert not any(isinstance(layer, L.BatchNormalization) for layer in swapped.layers)
    with pytest.raises(ValueError, match="one input and one output"):
        keras_cnns.swap(model, lambda layer: None if isinstance(layer, L.Add) else layer)


def test_wrong_answers():
    with pytest.raises(ValueError, match="must return a layer or None, got 'relu' for 'stem_conv'"):
        keras_cnns.swap(MINIATURES["resnet20"](), lambda layer: "relu")


def test_a_shared_layer_is_asked_about_once():
    image = keras.Input((4,))
    layer = L.Dense(4, name="twice")
    model = keras.Model(image, layer(layer(image)))
    asked = []
    swapped = keras_cnns.swap(model, lambda x: asked.append(x.name) or L.Dense(4, activation="relu"))
    assert asked == ["twice"]
    assert len(swapped.layers) == 2
    np.testing.assert_array_equal(swapped.get_layer("twice").kernel, layer.kernel)


def test_the_editor_keeps_bare_operations_and_arguments():
    image = keras.Input((4, 4, 3), name="image")
    x = keras.ops.concatenate([image * 2.0, keras.ops.flip(image, axis=1)], axis=-1)
    first, _ = keras.ops.split(x, 2, axis=-1)
    normal = L.Normalization(name="normal")
    normal.adapt(images(8, 4, 4, 3))
    model = keras.Model(image, [normal(first), x])
    copy = GraphEditor(model).build()
    x = images(2, 4, 4, 3)
    for a, b in zip(model(x), copy(x), strict=True):
        np.testing.assert_array_equal(a, b)
