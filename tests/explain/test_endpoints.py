"""Endpoints come from names alone: fresh, loaded, fused, of keras.applications."""

import keras
import numpy as np
import pytest
from keras import layers as L
from support import MINIATURES, images, randomise

import keras_cnns


def shapes(model):
    return {name: tuple(t.shape[1:]) for name, t in keras_cnns.endpoints(model).items()}


def test_residual_networks():
    found = shapes(MINIATURES["resnet18"]())
    assert list(found) == ["conv1", "stem", "stage1", "stage2", "stage3", "stage4"]
    assert [shape[0] for shape in found.values()] == [32, 16, 16, 8, 4, 2]


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "wrn16_4"])
def test_last_stage_is_the_output_without_top(name):
    model = MINIATURES[name](include_top=False)
    found = keras_cnns.endpoints(model)
    assert list(found)[-1] == f"stage{len(MINIATURES[name].row.depths)}"
    assert list(found.values())[-1] is model.output


PLACES = ("resnet20", "vgg11_bn", "googlenet", "alexnet", "nin", "repvgg_b1g2", "resnet50_v2")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in PLACES else pytest.mark.slow) for n in MINIATURES]
)
def test_every_network_has_them(name):
    """Maps shrink and deepen from end to end, each is a tensor of the graph, and fusing leaves them in place."""
    model = MINIATURES[name]()
    found = shapes(model)
    maps = [shape for shape in found.values() if len(shape) == 3]
    assert len(found) >= 2
    assert [shape[0] for shape in maps] == sorted((shape[0] for shape in maps), reverse=True)
    assert maps[-1][0] < maps[0][0]
    assert maps[-1][2] >= maps[0][2]
    features = keras_cnns.feature_extractor(model, found).output
    assert {key: tuple(tensor.shape[1:]) for key, tensor in features.items()} == found
    assert shapes(keras_cnns.fuse(model)) == found


def test_lenet_in_any_case():
    model = keras_cnns.LeNet5()
    assert list(keras_cnns.endpoints(model)) == ["C1", "S2", "C3", "S4", "C5", "F6"]
    assert keras_cnns.endpoints(model)["C1"] is model.get_layer("c1_tanh").output
    assert keras_cnns.feature_extractor(model, "c5").output["c5"].shape == (None, 1, 1, 120)


def test_loaded_and_fused_networks_have_the_same(tmp_path):
    model = randomise(MINIATURES["resnet18"]())
    model.save(tmp_path / "model.keras")
    loaded = keras_cnns.load_model(tmp_path / "model.keras")
    fused = keras_cnns.fuse(loaded)
    assert shapes(loaded) == shapes(fused) == shapes(model)
    x = images(1, *model.input_shape[1:])
    names = ["conv1", "stem", "stage2", "stage4"]
    expected, found = (keras_cnns.feature_extractor(m, names)(x, training=False) for m in (model, fused))
    assert list(found) == names
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-4)


def test_aliases_of_the_papers():
    model = MINIATURES["resnet18"]()
    features = keras_cnns.feature_extractor(model, ["conv1", "conv2_x", "stage1", "conv5_x", "stage4", "logits"])
    out = features.output
    assert list(out) == ["conv1", "conv2_x", "stage1", "conv5_x", "stage4", "logits"]
    x = images(1, *model.input_shape[1:])
    got = features(x)
    np.testing.assert_array_equal(got["conv2_x"], got["stage1"])
    np.testing.assert_array_equal(got["conv5_x"], got["stage4"])
    assert features.layers[1] is model.layers[1]


def chain(*names):
    x = image = keras.Input((8, 8, 3))
    for name in names:
        x = L.Activation("relu", name=name)(x)
    return keras.Model(image, x)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            "stage1_conv1 stage1_conv1_norm stage1_lrn1 stage1_conv2_relu stage1_pool stage2_conv1",
            {"stage1": "stage1_conv2_relu", "stage2": "stage2_conv1"},
        ),
        (
            "conv1 conv1_relu lrn1 pool1 conv2_pad conv2 conv2_relu pool2 flatten fc6",
            {"conv1": "conv1_relu", "conv2": "conv2_relu"},
        ),
        ("conv1_tower1 conv1_tower1_relu conv1_join pool1", {"conv1": "conv1_join"}),
        (
            "conv1_relu conv2_reduce conv2_relu inception_3a_1x1 inception_3a inception_3b pool3",
            {
                "conv1": "conv1_relu",
                "conv2": "conv2_relu",
                "inception_3a": "inception_3a",
                "inception_3b": "inception_3b",
            },
        ),
        (
            "mlpconv1_conv1 mlpconv1_conv3_relu pool1 mlpconv2_conv1",
            {"mlpconv1": "mlpconv1_conv3_relu", "mlpconv2": "mlpconv2_conv1"},
        ),
        (
            "stem_conv stage1_unit1_add stage2_unit1_conv1_pad stage2_unit1_add finish_norm finish_relu pool",
            {"conv1": "stem_conv", "stem": "stem_conv", "stage1": "stage1_unit1_add", "stage2": "finish_relu"},
        ),
    ],
)
def test_names_of_other_networks(names, expected):
    model = chain(*names.split())
    found = keras_cnns.endpoints(model)
    assert {k: model.layers[[x.output for x in model.layers].index(t)].name for k, t in found.items()} == expected


def test_keras_applications():
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    assert shapes(model) == {f"stage{i + 1}": (32 >> i, 32 >> i, min(64 << i, 512)) for i in range(5)}


def test_short_names_of_inception():
    assert list(keras_cnns.feature_extractor(chain("inception_3a"), "3A").output) == ["3A"]


def test_errors():
    model = MINIATURES["resnet18"]()
    with pytest.raises(ValueError, match="no endpoint 'stage9'; did you mean 'stage"):
        keras_cnns.feature_extractor(model, ["stage1", "stage9"])
    with pytest.raises(ValueError, match="no endpoint 'conv9_x'"):
        keras_cnns.feature_extractor(model, "conv9_x")
    with pytest.raises(ValueError, match="names must have at least one endpoint"):
        keras_cnns.feature_extractor(model, [])
    assert keras_cnns.endpoints(chain("some", "thing")) == {}
