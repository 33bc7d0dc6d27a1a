"""Files in the layout of `keras.applications`, against its own networks and a NumPy count of what a bias does."""

import h5py
import keras
import numpy as np
import pytest
from support import images, randomise

import keras_cnns
from keras_cnns.blocks import BareProjectionOrPick
from keras_cnns.weights.keras_applications import THEIR_EPSILON, as_ours
from keras_cnns.weights.loading import given
from keras_cnns.weights.names import KERAS_RESNET, KERAS_RESNET_V2
from keras_cnns.weights.tensors import read

SIZE = 64


def written(model, path, head="predictions", old=False):
    """As Keras 1 and 2 wrote weights: a group a layer, its weights by name inside."""
    with h5py.File(path, "w") as file:
        for layer in model.layers:
            group = file.create_group(head if layer.name == "predictions" else layer.name)
            for weight in layer.weights:
                letter = {"kernel": "W", "bias": "b"}.get(weight.name, weight.name)
                leaf = f"{layer.name}_{letter}_1:0" if old else f"{layer.name}/{weight.name}:0"
                group.create_dataset(leaf, data=weight.numpy())
    return path


def theirs(build, **options):
    """A network of `keras.applications` with random statistics and biases; its head gives logits."""
    return randomise(build(weights=None, classes=7, classifier_activation=None, **options))


@pytest.mark.parametrize(
    ("build", "architecture"),
    [
        (keras.applications.ResNet50V2, keras_cnns.ResNet50V2),
        pytest.param(keras.applications.ResNet50, keras_cnns.ResNet50V1, marks=pytest.mark.slow),
        pytest.param(keras.applications.ResNet101, keras_cnns.ResNet101V1, marks=pytest.mark.slow),
        pytest.param(keras.applications.ResNet101V2, keras_cnns.ResNet101V2, marks=pytest.mark.slow),
        pytest.param(keras.applications.ResNet152, keras_cnns.ResNet152V1, marks=pytest.mark.slow),
        pytest.param(keras.applications.ResNet152V2, keras_cnns.ResNet152V2, marks=pytest.mark.slow),
    ],
    ids=lambda a: getattr(a, "name", ""),
)
def test_residual_networks(build, architecture, tmp_path):
    net = theirs(build, input_shape=(SIZE, SIZE, 3))
    path = written(net, tmp_path / "net.h5", head="probs")
    options = {"classes": 7, "classifier_activation": None, "input_shape": (SIZE, SIZE, 3)}
    model = architecture(weights=path, **options)
    x = images(2, SIZE, SIZE, 3)
    expected = np.asarray(net(x))
    np.testing.assert_allclose(model(x), expected, atol=1e-4 * expected.std())
    if architecture.name.endswith("_v2"):
        assert model.get_layer("stem_conv").use_bias
        assert isinstance(architecture.for_weights(path).row.unit.shortcut, BareProjectionOrPick)
        names = {weight.name for weight in model.get_layer("stage1_unit1_conv3").weights}
        assert names == {"kernel"}
    else:
        assert not any(layer.use_bias for layer in model.layers if isinstance(layer, keras.layers.Conv2D))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "architecture", "size"),
    [(keras.applications.VGG16, keras_cnns.VGG16, 224), (keras.applications.VGG19, keras_cnns.VGG19, 224)],
)
def test_vgg_with_its_classifier(build, architecture, size, tmp_path):
    net = theirs(build, input_shape=(size, size, 3))
    path = written(net, tmp_path / "net.h5", old=True)
    model = architecture(weights=path, classes=7, classifier_activation=None)
    x = images(1, size, size, 3)
    np.testing.assert_allclose(model(x), net(x), atol=1e-4 * np.asarray(net(x)).std())


def test_vgg_without_its_classifier(tmp_path):
    """The "notop" files; a network with a classifier refuses them."""
    net = randomise(keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3)))
    path = written(net, tmp_path / "notop.h5", old=True)
    model = keras_cnns.VGG16(include_top=False, weights=path)
    x = images(2, 32, 32, 3)
    np.testing.assert_allclose(model(x), net(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="6 missing: fc1/kernel, fc1/bias, fc2/kernel"):
        given(path, "vgg16").load(keras_cnns.VGG16(input_shape=(32, 32, 3), classes=3))


def arrays(path, **tensors):
    with h5py.File(path, "w") as file:
        for name, value in tensors.items():
            file.create_dataset(name.replace("__", "/"), data=value.astype("float32"))
    return read(path)


def test_a_bias_moves_the_mean_and_epsilon_the_variance(tmp_path):
    rng = np.random.default_rng(0)
    parts = {"conv1_conv__bias": rng.normal(size=4), "conv1_conv__kernel": rng.normal(size=(7, 7, 3, 4))}
    parts |= {
        f"conv1_bn__{k}": rng.uniform(0.1, 1, 4) for k in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    source = as_ours(arrays(tmp_path / "a.h5", **parts), KERAS_RESNET)
    assert "conv1_conv/bias" not in source.tensors
    got = {name.rpartition("/")[2]: t.read().astype("float64") for name, t in source.tensors.items()}
    y = rng.normal(size=(5, 4))
    before = (y + parts["conv1_conv__bias"] - parts["conv1_bn__moving_mean"]) / np.sqrt(
        parts["conv1_bn__moving_variance"] + THEIR_EPSILON
    )
    after = (y - got["moving_mean"]) / np.sqrt(got["moving_variance"] + 1e-5)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_depthwise_kernels_of_resnext_become_grouped_ones(tmp_path):
    """In each group the products of every c' outputs are summed over the group's channels."""
    rng = np.random.default_rng(1)
    groups, c = 3, 2
    kernel = rng.normal(size=(3, 3, groups * c, c))
    x = rng.normal(size=(1, 5, 5, groups * c)).astype("float32")
    source = as_ours(arrays(tmp_path / "a.h5", conv2_block1_2_conv__kernel=kernel), KERAS_RESNET)
    grouped = source.tensors["conv2_block1_2_conv/kernel"]
    assert grouped.shape == grouped.read().shape == (3, 3, c, groups * c)
    depthwise = np.asarray(keras.ops.depthwise_conv(x, kernel.astype("float32"), padding="valid"))
    expected = depthwise.reshape(1, 3, 3, groups, c, c).sum(axis=4).reshape(1, 3, 3, groups * c)
    found = keras_cnns.layers.Conv2D(groups * c, 3, groups=groups, use_bias=False)
    found.build(x.shape)
    found.kernel.assign(grouped.read())
    np.testing.assert_allclose(found(x), expected, rtol=1e-4, atol=1e-5)


def test_a_bias_of_a_monstrous_length_is_not_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("conv2_block1_0_conv/bias", shape=(10**11,), dtype="float32", chunks=(1024,))
    with pytest.raises(ValueError, match="a bias must be a vector of at most"):
        as_ours(read(tmp_path / "a.h5"), KERAS_RESNET_V2)


# --- hostile HDF5 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".h5", ".weights.h5"])
def test_links_and_shapes_of_hostile_files(ending, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.ones(3, "float32")
    path = tmp_path / f"net{ending}"
    with h5py.File(path, "w") as file:
        file["fc1/kernel"] = h5py.ExternalLink(str(secret), "x")
    with pytest.raises(ValueError, match="is a link"):
        keras_cnns.ResNet18(weights=path)
    with h5py.File(path, "w") as file:
        file.create_dataset("fc1/kernel", shape=(3,), dtype="float32", external=[(str(secret), 0, 12)])
    with pytest.raises(ValueError, match="lies outside the file"):
        keras_cnns.ResNet18(weights=path)
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/conv2d/vars/0", shape=(10**6, 10**6), dtype="float32", chunks=(64, 64))
        file["layers/conv2d/vars"].attrs["name"] = "stem_conv"
        file.create_dataset("conv1_conv/kernel", shape=(10**6, 10**6), dtype="float32", chunks=(64, 64))
    with pytest.raises(ValueError, match="does not fit"):
        keras_cnns.ResNet18(weights=path, classes=3)
