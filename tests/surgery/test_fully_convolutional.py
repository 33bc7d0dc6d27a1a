"""A dense head slid over a map is the dense head on every window of it."""

import keras
import numpy as np
import pytest
from keras import layers as L
from support import MINIATURES, images, randomise

import keras_cnns
from keras_cnns.surgery.fully_convolutional import mirrored, upright


def vgg(features=None, side=56, activation="softmax"):
    """VGG in miniature: its head is flatten, dense, dense, dense, with dropout between."""
    x = image = keras.Input((side, side, 3), name="image")
    for stage, filters in enumerate((4, 6, 8), 1):
        x = L.Conv2D(filters, 3, padding="same", activation="relu", name=f"stage{stage}_conv1")(x)
        x = L.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
    x = L.Flatten(name="flatten")(x)
    for i in (1, 2):
        x = L.Dropout(0.5, name=f"drop{i}")(L.Dense(16, activation="relu", name=f"fc{i}")(x))
    return randomise(keras.Model(image, L.Dense(5, activation=activation, name="logits")(x), name="vgg"))


def head(model, first, last):
    """From behind the layer `first` on."""
    whole = model.get_layer(first).output
    return keras.Model(whole, model.get_layer(last).output)


def test_head_on_every_window():
    model = vgg()
    converted = keras_cnns.fully_convolutional(model)
    features = images(2, 12, 10, 8)
    found = np.asarray(head(converted, "stage3_pool", "logits")(features))
    dense = head(model, "stage3_pool", "logits")
    assert found.shape == (2, 6, 4, 5)
    for i in range(6):
        for j in range(4):
            window = features[:, i : i + 7, j : j + 7]
            np.testing.assert_allclose(found[:, i, j], dense(window), rtol=1e-5, atol=1e-6)


def test_native_size_gives_the_same_answer():
    model = vgg()
    converted = keras_cnns.fully_convolutional(model)
    assert converted.input_shape == (None, None, None, 3)
    assert converted.output_names == model.output_names
    x = images(2, 56, 56, 3)
    np.testing.assert_allclose(np.asarray(converted(x))[:, 0, 0], model(x), rtol=1e-5, atol=1e-6)
    assert converted(images(1, 96, 64, 3)).shape == (1, 6, 2, 5)
    assert converted.get_layer("fc1").kernel_size == (7, 7)
    assert "flatten" not in [layer.name for layer in converted.layers]


def test_global_pooling_gives_6x6_at_384():
    """Numbers of the real sizes, without running them."""
    model = keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(224, 224, 3), dropout=0.5)
    converted = keras_cnns.fully_convolutional(model)
    assert converted.compute_output_shape((1, 224, 224, 3)) == (1, 1, 1, 1000)
    assert converted.compute_output_shape((1, 384, 384, 3)) == (1, 6, 6, 1000)


FAMILIES = ("lenet5_modern", "resnet18", "resnet20", "resnet50", "wrn16_4")
OTHERS = [pytest.param(n, marks=pytest.mark.slow) for n in MINIATURES if n not in ("lenet5", *FAMILIES)]


@pytest.mark.parametrize("name", [*FAMILIES, *OTHERS])
def test_every_network(name):
    model = randomise(MINIATURES[name](classifier_activation=None))
    converted = keras_cnns.fully_convolutional(model)
    x = images(2, *model.input_shape[1:])
    expected = np.asarray(model(x, training=False))
    found = np.asarray(converted(x, training=False))[:, 0, 0]
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_gates_stay_global():
    image = keras.Input((8, 8, 4))
    x = L.Conv2D(6, 3, padding="same")(image)
    s = L.Dense(6, activation="sigmoid", name="gate")(L.GlobalAveragePooling2D(name="gate_pool")(x))
    x = L.Multiply()([x, L.Reshape((1, 1, 6), name="gate_map")(s)])
    x = L.BatchNormalization(name="norm")(L.GlobalMaxPooling2D(name="pool")(x))
    model = randomise(keras.Model(image, L.Softmax(name="p")(L.Dense(3, name="logits")(x))))
    converted = keras_cnns.fully_convolutional(model)
    assert isinstance(converted.get_layer("gate"), L.Dense)
    assert isinstance(converted.get_layer("pool"), L.MaxPooling2D)
    x = images(2, 8, 8, 4)
    np.testing.assert_allclose(np.asarray(converted(x))[:, 0, 0], model(x), rtol=1e-5)
    assert converted(images(1, 12, 9, 4)).shape == (1, 5, 2, 3)


def test_nested_body_and_several_heads():
    body = MINIATURES["resnet20"](include_top=False, input_shape=(16, 16, 3))
    image = keras.Input((16, 16, 3))
    x = body(image)
    one = L.Dense(3, name="one")(L.GlobalAveragePooling2D(name="pool")(x))
    two = L.Dense(2, name="two")(L.Flatten(name="flat")(x))
    model = randomise(keras.Model(image, [one, two]))
    converted = keras_cnns.fully_convolutional(model)
    x = images(2, 16, 16, 3)
    for a, b in zip(converted(x), model(x), strict=True):
        np.testing.assert_allclose(np.asarray(a)[:, 0, 0], b, rtol=1e-4, atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="leaves its input size open"):
        keras_cnns.fully_convolutional(MINIATURES["resnet20"](input_shape=(None, None, 3)))
    with pytest.raises(ValueError, match=r"the head has 'rbf' \(RBF\)"):
        keras_cnns.fully_convolutional(keras_cnns.LeNet5())


@pytest.mark.parametrize("activation", ["softmax", None])
def test_dense_evaluation(activation):
    """Scores averaged over the map, softmax, then the mean with the mirror image."""
    model = vgg(activation=None)
    x = images(3, 72, 64, 3)
    maps = keras_cnns.fully_convolutional(model)

    def probabilities(x):
        logits = np.asarray(maps(x)).mean((1, 2))
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        return odds / odds.sum(-1, keepdims=True)

    expected = (probabilities(x) + probabilities(x[:, :, ::-1])) / 2
    end = vgg(activation=activation)
    end.set_weights(model.get_weights())
    np.testing.assert_allclose(keras_cnns.dense_evaluate(end, x), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        keras_cnns.dense_evaluate(end, x, views=(upright,)), probabilities(x), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        keras_cnns.dense_evaluate(end, x[:, :, ::-1], views=(mirrored,)), probabilities(x), rtol=1e-4, atol=1e-6
    )


def test_dense_evaluation_without_views():
    with pytest.raises(ValueError, match="views must have at least one function"):
        keras_cnns.dense_evaluate(vgg(), images(1, 56, 56, 3), views=())
