"""VGG: table 1, its arguments, and equality with keras.applications."""

import itertools

import keras
import numpy as np
import pytest
from support import GOLDENS, MINIATURES, images, randomise

import keras_cnns
from keras_cnns import VGG11, VGG11CIFAR, VGG16, VGG16C, VGG19, measure
from keras_cnns.models.vgg import Column, Conv1x1, M
from keras_cnns.zoo import ARCHITECTURES

IMAGENET = [n for n in GOLDENS if n.startswith("vgg") and not n.endswith("cifar")]
DENSE = [(512 * 49, 4096), (4096, 4096), (4096, 1000)]


@pytest.mark.parametrize("name", IMAGENET)
def test_counts(name):
    """The convolutions as built, the dense layers by arithmetic: a full network has 550 MB of weights."""
    m = measure(ARCHITECTURES[name](include_top=False, input_shape=(224, 224, 3)))
    assert m.trainable_params + sum((i + 1) * o for i, o in DENSE) == int(GOLDENS[name]["params"])
    assert m.macs + sum(i * o for i, o in DENSE) == int(GOLDENS[name]["macs"])
    assert m.params - m.trainable_params == int(GOLDENS[name]["moving"])
    digits = "".join(c for c in name.partition("_")[0] if c.isdigit())
    assert m.depth + 3 == int(digits)
    assert m.layers[-1].output_shape == (7, 7, 512)
    fields = {"vgg11": 150, "vgg13": 156, "vgg16": 212, "vgg19": 268, "vgg16_c": 156}
    assert m.receptive_field == fields[name.removesuffix("_bn").removesuffix("_lrn")]


@pytest.mark.parametrize("name", ["vgg11", "vgg16_c", "vgg19_bn"])
def test_resolution_falls_and_channels_rise(name):
    m = measure(ARCHITECTURES[name](include_top=False, input_shape=(224, 224, 3)))
    shapes = [row.output_shape for row in m.layers]
    for (h, w, c), (h2, w2, c2) in itertools.pairwise(shapes[1:]):
        assert h == w
        assert (h2, w2) in ((h, w), (h // 2, w // 2))
        assert c2 >= c
    assert [s[0] for n, s in ((r.name, r.output_shape) for r in m.layers) if n.endswith("pool")] == [
        112,
        56,
        28,
        14,
        7,
    ]


def test_names():
    names = [layer.name for layer in MINIATURES["vgg11_lrn"]().layers]
    start = ["stage1_conv1", "stage1_conv1_relu", "stage1_lrn1", "stage1_pool", "stage2_conv1"]
    assert names[1:6] == start
    end = ["fc1", "fc1_relu", "fc1_dropout", "fc2", "fc2_relu", "fc2_dropout", "logits", "predictions"]
    assert names[-8:] == end


def test_normed_twin_keeps_its_biases():
    model = MINIATURES["vgg11_bn"]()
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert all(layer.use_bias for layer in convolutions)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == len(convolutions)
    assert {n.epsilon for n in norms} == {1e-5}


def test_configuration_c_closes_its_stages_with_1x1():
    kernels = [
        layer.kernel_size for layer in VGG16C(include_top=False).layers if isinstance(layer, keras.layers.Conv2D)
    ]
    assert [i for i, k in enumerate(kernels) if k == (1, 1)] == [6, 9, 12]


def test_start():
    """He's rule (fan-out) in the convolutions, N(0, 0.01) in the dense layers, biases of zero."""
    body = VGG11(include_top=False)
    kernel = body.get_layer("stage3_conv2").kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 256)), rel=0.01)
    model = MINIATURES["vgg11"](input_shape=(96, 96, 3))
    assert np.std(model.get_layer("logits").kernel) == pytest.approx(0.01, rel=0.05)
    assert not any(np.any(layer.bias) for layer in model.layers if hasattr(layer, "bias"))


def test_three_3x3_see_what_one_7x7_sees():
    """27 C^2 weights against 49 C^2."""
    c = 10
    image = keras.Input((16, 16, c))
    three = measure(keras.Model(image, Column((c, c, c))(image)))
    one = measure(keras.Model(image, keras.layers.Conv2D(c, 7, padding="same")(image)))
    assert three.receptive_field == one.receptive_field == 7
    assert three.trainable_params - 3 * c == 27 * c**2
    assert one.trainable_params - c == 49 * c**2
    assert (three.depth, one.depth) == (3, 1)
    two = measure(keras.Model(image, Column((c, c))(image)))
    assert two.receptive_field == 5
    mixed = measure(keras.Model(image, Column((c, Conv1x1(c), M))(image)))
    assert mixed.receptive_field == 4  # 3 and a pool of 2; the 1x1 adds nothing


def test_cifar_head_is_one_dense_layer():
    model = VGG11CIFAR()
    assert measure(model).layers[-4].output_shape == (1, 1, 512)
    assert model.get_layer("logits").kernel.shape == (512, 10)


def test_a_column_refuses():
    with pytest.raises(ValueError, match=r"Column.layers must be"):
        Column((64, "M"))
    with pytest.raises(ValueError, match=r"Column.layers must be"):
        Column((64, 0))


# --- parity -----------------------------------------------------------------------------------------------------


def equal_to_keras(ours, theirs, side, seed):
    """Random weights and biases carried over in order; outputs relative to their size."""
    randomise(theirs, seed)
    kernels = [w for w in theirs.weights if w.path.endswith("kernel")]
    rng = np.random.default_rng(seed)
    for kernel in kernels:
        fan_in = np.prod(kernel.shape[:-1])
        kernel.assign(rng.normal(0, np.sqrt(2 / fan_in), kernel.shape))
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    ours.set_weights(theirs.get_weights())
    x = images(2, side, side, 3, seed=seed)
    expected = np.array(theirs(x))
    np.testing.assert_allclose(ours(x), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("name", "side"), [("VGG16", 64), ("VGG19", 45)])
def test_features_equal_keras_applications(name, side):
    theirs = getattr(keras.applications, name)(weights=None, include_top=False)
    equal_to_keras(getattr(keras_cnns, name)(include_top=False), theirs, side, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["VGG16", "VGG19"])
def test_networks_equal_keras_applications(name):
    theirs = getattr(keras.applications, name)(weights=None, classifier_activation=None)
    equal_to_keras(getattr(keras_cnns, name)(classifier_activation=None), theirs, 224, seed=4)


def test_depths_by_name():
    assert len([n for n in VGG16.row.layers if n != M]) == 13
    assert len([n for n in VGG19.row.layers if n != M]) == 16
