"""Pictures: what is in them is tested on the structure; that they are pictures, on the files."""

import keras
import pytest
from keras import layers as L
from support import MINIATURES

import keras_cnns
from keras_cnns.explain.structure import panels


def told(model):
    return {
        panel.title: [(len(unit.like) + 1, [(b.title, *b.notes) for b in unit.boxes]) for unit in panel.units]
        for panel in panels(model)
    }


def test_structure_of_a_residual_network():
    found = told(keras_cnns.ResNet32())
    assert list(found) == ["input", "stem", "stage 1", "stage 2", "stage 3", "classifier"]
    assert found["stem"] == [(1, [("3x3 conv, 16", "BN", "ReLU")])]
    assert found["stage 1"] == [(5, [("3x3 conv, 16", "BN", "ReLU"), ("3x3 conv, 16", "BN"), ("+", "ReLU")])]
    assert [count for count, _ in found["stage 2"]] == [1, 4]
    assert ("every 2nd pixel",) in found["stage 2"][0][1]
    assert found["classifier"] == [(1, [("global average pool",)]), (1, [("dense, 10", "softmax")])]


def test_structure_by_sizes_where_names_say_nothing():
    assert list(told(keras_cnns.LeNet5())) == ["input", "28x28", "14x14", "10x10", "5x5", "1x1", "classifier"]


def test_pre_activation_norms_open_the_unit():
    found = told(MINIATURES["wrn16_4"]())
    assert found["stage 1"][1][1][0] == ("BN", "ReLU")
    assert found["stage 1"][1][1][-1] == ("+",)


def test_branches_without_names_are_a_unit():
    image = keras.Input((8, 8, 3), name="image")
    x = L.Conv2D(4, 3, name="a")(image)
    x = L.Add(name="c")([L.Conv2D(4, 1, name="b")(x), x])
    (unit,) = panels(keras.Model(image, x))[1].units
    assert [box.layer for box in unit.boxes] == ["a", "b", "c"]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_files(tmp_path, suffix):
    path = keras_cnns.draw(MINIATURES["resnet50"](), tmp_path / f"net.{suffix}")
    data = path.read_bytes()
    assert len(data) > 20_000
    assert data.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


def test_branches_gates_heads_and_open_sizes(tmp_path):
    """Whatever a graph looks like, it can be drawn."""
    image = keras.Input((None, None, 3), name="image")
    x = L.Conv2D(4, 3, padding="same", name="stem_conv")(image)
    parts = [L.Conv2D(4, k, padding="same", name=f"inception_3a_{k}x{k}")(x) for k in (1, 3, 5)]
    pool = L.MaxPooling2D(3, 1, padding="same", name="inception_3a_pool")(x)
    x = L.Concatenate(name="inception_3a")([*parts, pool])
    aux = L.Dense(2, name="aux1_logits")(L.GlobalAveragePooling2D(name="aux1_pool")(x))
    s = L.GlobalAveragePooling2D(keepdims=True, name="stage4_unit1_gate_pool")(x)
    x = L.Multiply(name="stage4_unit1_gate_scale")([x, s])
    inner = keras.Sequential([keras.Input((None, None, 16)), L.Conv2D(16, 1)], name="inner")
    x = L.Add()([inner(x), x])
    main = L.Dense(2, name="logits")(L.GlobalMaxPooling2D(name="pool")(x * 2.0))
    path = keras_cnns.draw(keras.Model(image, [main, aux]), tmp_path / "net.png")
    assert path.stat().st_size > 20_000


def test_very_deep_networks_stay_small(tmp_path):
    model = keras_cnns.ResNet110()
    assert [count for count, _ in told(model)["stage 3"]] == [1, 17]


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"\.png or \.svg, got 'net\.pdf'"):
        keras_cnns.draw(keras_cnns.LeNet5(), tmp_path / "net.pdf")
    assert not list(tmp_path.iterdir())
