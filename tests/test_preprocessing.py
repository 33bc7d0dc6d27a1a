"""The numbers of the libraries whose weights exist, and nothing changed in place."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_cnns.preprocessing import CAFFE, CIFAR, LENET, TF, TORCH, UNIT, Preprocessing
from keras_cnns.zoo import from_json, to_json

# mode: white, 128, black in the order that comes out (R, G, B; caffe: B, G, R).
TABLE = [
    (TORCH, [2.248908, 2.428571, 2.640000], [0.074065, 0.205182, 0.426492], [-2.117904, -2.035714, -1.804444]),
    (TF, [1] * 3, [0.003922] * 3, [-1] * 3),
    (CAFFE, [151.061, 138.221, 131.320], [24.061, 11.221, 4.320], [-103.939, -116.779, -123.680]),
    (UNIT, [1] * 3, [0.501961] * 3, [0] * 3),
]


@pytest.mark.parametrize(("mode", "white", "grey", "black"), TABLE)
def test_numbers(mode, white, grey, black):
    for level, expected in ((255, white), (128, grey), (0, black)):
        for dtype in ("uint8", "float32", "float64", "int64"):
            out = mode(np.full((2, 2, 3), level, dtype))
            assert out.dtype == "float32"
            np.testing.assert_allclose(
                out, np.broadcast_to(expected, (2, 2, 3)), atol=2e-5 if mode != CAFFE else 1e-3
            )


def test_channels_are_not_mixed_up():
    red = np.zeros((1, 1, 3), "uint8")
    red[..., 0] = 255
    np.testing.assert_allclose(TORCH(red)[0, 0], [2.248908, -2.035714, -1.804444], atol=2e-5)
    np.testing.assert_allclose(CAFFE(red)[0, 0], [-103.939, -116.779, 131.32], atol=1e-3)


def test_published_means():
    """In grey levels: 123.675, 116.28, 103.53 and 58.395, 57.12, 57.375."""
    assert TORCH.mean == (123.675, 116.28, 103.53)
    assert TORCH.std == (58.395, 57.12, 57.375)
    np.testing.assert_allclose(np.array(CIFAR.mean) / 255, [0.4914, 0.4822, 0.4465], atol=1e-6)
    np.testing.assert_allclose(np.array(CIFAR.std) / 255, [0.2470, 0.2435, 0.2616], atol=1e-6)


def test_lenet_levels():
    """Background -0.1 and ink 1.175, as the paper has it."""
    np.testing.assert_allclose(LENET(np.array([[[0], [255]]], "uint8")).ravel(), [-0.1, 1.175], atol=1e-6)


@pytest.mark.parametrize("mode", [TORCH, CAFFE, TF, UNIT, CIFAR])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_never_in_place(mode, dtype):
    x = np.arange(48, dtype=dtype).reshape(4, 4, 3)
    kept = x.copy()
    mode(x)
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("mode", [TORCH, CAFFE, TF])
def test_tensors_and_symbols(mode):
    x = np.arange(96, dtype="uint8").reshape(2, 4, 4, 3)
    tensor = mode(keras.ops.convert_to_tensor(x))
    assert keras.ops.is_tensor(tensor)
    np.testing.assert_allclose(tensor, mode(x), rtol=1e-5, atol=1e-5)
    image = keras.Input((4, 4, 3))
    np.testing.assert_allclose(keras.Model(image, mode(image))(x.astype("float32")), mode(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", [TORCH, CAFFE, TF, UNIT])
def test_as_stock_layers_of_an_exported_graph(mode, tmp_path):
    x = np.arange(96, dtype="uint8").reshape(2, 4, 4, 3)
    image = keras.Input((4, 4, 3), dtype="uint8")
    model = keras.Model(image, mode.as_layers(image))
    np.testing.assert_allclose(model(x), mode(x), rtol=1e-5, atol=1e-5)
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    model.save(tmp_path / "net.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "net.keras")(x), model(x))
    with pytest.raises(ValueError, match="got 1"):
        TORCH.as_layers(keras.Input((4, 4, 1)))


def test_number_of_channels():
    with pytest.raises(ValueError, match="needs 3 channels, got 1"):
        TORCH(np.zeros((2, 2, 1)))
    assert TF(np.zeros((2, 2, 1))).shape == (2, 2, 1)
    assert UNIT(np.zeros((2, 2, 4))).shape == (2, 2, 4)


def test_is_a_value():
    assert from_json(to_json(CAFFE)) == CAFFE
    assert replace(CAFFE, order="rgb") != CAFFE
    with pytest.raises(ValueError, match="equal lengths, got 3 and 1"):
        Preprocessing((1.0, 2.0, 3.0), (1.0,))
    with pytest.raises(ValueError, match="order must be"):
        Preprocessing(order="grb")
    with pytest.raises(ValueError, match=r"Preprocessing\.std"):
        Preprocessing((0.0,), (0.0,))
