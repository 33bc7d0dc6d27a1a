"""Every unit against ten lines of numpy, and the laws of residual networks."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from support import MINIATURES, Reference, build, images, randomise, relu, weights_of

from keras_cnns import WRN40_1, ResNet20, measure
from keras_cnns.blocks import (
    AlwaysProjection,
    BareProjection,
    Basic,
    Bottleneck,
    Conv3x3,
    PreActivationBasic,
    Projection,
    Staged,
    Stem3x3,
    Stem7x7,
    ZeroPad,
    no_shortcut,
)
from keras_cnns.blocks.conv import conv
from keras_cnns.blocks.unit import nothing

CASES = [(8, 8, 1, 7), (4, 8, 2, 8), (4, 8, 2, 7), (4, 8, 1, 6)]  # channels, width, stride, side


@pytest.mark.parametrize(("channels", "width", "stride", "side"), CASES)
def test_basic(channels, width, stride, side):
    model = build(Basic(), channels, width, stride, side)
    x, n = images(2, side, side, channels), Reference(model)
    y = n.conv_norm(relu(n.conv_norm(x, "u_conv1", stride)), "u_conv2")
    skip = x if (channels, stride) == (width, 1) else n.conv_norm(x, "u_shortcut", stride)
    np.testing.assert_allclose(model(x), relu(y + skip), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride_at", [1, 2])
@pytest.mark.parametrize(("channels", "width", "stride", "side"), [*CASES, (32, 8, 1, 5)])
def test_bottleneck(channels, width, stride, side, stride_at):
    model = build(Bottleneck(stride_at=stride_at, inner=2), channels, width, stride, side)
    x, n = images(2, side, side, channels), Reference(model)
    first, second = (stride, 1) if stride_at == 1 else (1, stride)
    y = relu(n.conv_norm(relu(n.conv_norm(x, "u_conv1", first)), "u_conv2", second))
    assert y.shape[-1] == 2 * width
    y = n.conv_norm(y, "u_conv3")
    skip = x if (channels, stride) == (4 * width, 1) else n.conv_norm(x, "u_shortcut", stride)
    np.testing.assert_allclose(model(x), relu(y + skip), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "width", "stride", "side"), CASES)
def test_pre_activation_basic(channels, width, stride, side):
    """The shared BN-ReLU feeds the projection; without one, the shortcut carries the raw input."""
    model = build(PreActivationBasic(), channels, width, stride, side)
    x, n = images(2, side, side, channels), Reference(model)
    a = relu(n.norm(x, "u_preact_norm"))
    y = n.conv(relu(n.conv_norm(a, "u_conv1", stride)), "u_conv2")
    skip = x if (channels, stride) == (width, 1) else n.conv(a, "u_shortcut", stride)
    np.testing.assert_allclose(model(x), y + skip, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [6, 7])
def test_option_a_is_aligned(side):
    """x[:, ::2, ::2] and zero channels at the end; identity where nothing changes; no weights."""
    x = images(2, side, side, 3)
    inner = keras.Input(x.shape[1:])
    model = keras.Model(inner, ZeroPad()(inner, 5, 2, "s"))
    expected = np.concatenate([x[:, ::2, ::2], np.zeros((2, *x[:, ::2, ::2].shape[1:3], 2))], -1)
    np.testing.assert_array_equal(model(x), expected)
    assert not model.weights
    assert ZeroPad()(inner, 3, 1, "s") is inner


@pytest.mark.parametrize("side", [7, 8])
def test_strided_convolution_samples_the_centres(side):
    """A kernel that is 1 in its centre picks x[:, ::2, ::2] at odd and even sizes, as the shortcut does."""
    x = images(1, side, side, 1)
    for kernel in (1, 3, 7):
        inner = keras.Input(x.shape[1:])
        model = keras.Model(inner, conv(inner, 1, kernel, stride=2, name="c"))
        picks = np.zeros((kernel, kernel, 1, 1), "float32")
        picks[kernel // 2, kernel // 2] = 1
        model.get_layer("c").set_weights([picks])
        np.testing.assert_array_equal(model(x), x[:, ::2, ::2])


@pytest.mark.parametrize("unit", [Basic(), Bottleneck(), Basic(shortcut=ZeroPad())])
def test_zero_gamma_is_the_identity_after_relu(unit):
    """With gamma and beta of the last norm zero, a unit that keeps its shape gives ReLU(x)."""
    width = 4
    channels = width * getattr(unit, "expansion", 1)
    model = build(unit, channels, width, 1)
    last = model.get_layer("u_conv3_norm" if isinstance(unit, Bottleneck) else "u_conv2_norm")
    last.gamma.assign(np.zeros(channels))
    last.beta.assign(np.zeros(channels))
    x = images(2, 7, 7, channels)
    np.testing.assert_allclose(model(x), relu(x), atol=1e-6)


def test_zero_kernel_is_the_identity_of_a_pre_activation_unit():
    model = build(PreActivationBasic(), 4, 4, 1)
    model.get_layer("u_conv2").set_weights([np.zeros((3, 3, 4, 4))])
    x = images(2, 7, 7, 4)
    np.testing.assert_array_equal(model(x), x)


def test_option_a_network_of_zero_branches():
    """It reduces to ReLU of the stem's output, subsampled and zero-padded."""
    a = MINIATURES["resnet20"]
    model = randomise(a(include_top=False, input_shape=(16, 16, 3)))
    for layer in model.layers:
        if layer.name.endswith("conv2_norm"):
            layer.gamma.assign(np.zeros(layer.gamma.shape))
            layer.beta.assign(np.zeros(layer.beta.shape))
    stem = keras.Model(model.input, model.get_layer("stem_conv_relu").output)
    x = images(2, 16, 16, 3)
    y = np.array(stem(x))[:, ::4, ::4]
    expected = np.concatenate([y, np.zeros((*y.shape[:3], 24))], -1)
    np.testing.assert_allclose(model(x), expected, atol=1e-6)


def test_plain_is_the_same_without_addition():
    """Equal counts and equal weight names; no Add, and the branch alone comes out."""
    residual, plain = MINIATURES["resnet20"](), MINIATURES["plain20"]()
    assert {k: v.shape for k, v in weights_of(residual).items()} == {
        k: v.shape for k, v in weights_of(plain).items()
    }
    assert not [layer for layer in plain.layers if isinstance(layer, keras.layers.Add)]
    assert measure(plain).macs == measure(residual).macs
    model = build(Basic(shortcut=no_shortcut), 4, 4, 1)
    x, n = images(2, 7, 7, 4), Reference(model)
    y = n.conv_norm(relu(n.conv_norm(x, "u_conv1")), "u_conv2")
    np.testing.assert_allclose(model(x), relu(y), rtol=1e-4, atol=1e-4)


def test_options_b_and_c():
    inner = keras.Input((8, 8, 4))
    assert Projection()(inner, 4, 1, "b") is inner
    assert BareProjection()(inner, 4, 1, "b") is inner
    assert AlwaysProjection()(inner, 4, 1, "c") is not inner
    count = lambda shortcut: measure(ResNet20.with_unit(shortcut=shortcut)()).trainable_params  # noqa: E731
    assert count(Projection()) - count(ZeroPad()) == 2_752


def test_version_1_strides_on_the_first_convolution():
    v1, v15 = (build(Bottleneck(stride_at=at), 16, 8, 2, 8) for at in (1, 2))
    strides = [[m.get_layer(f"u_conv{i}").strides[0] for i in (1, 2, 3)] for m in (v1, v15)]
    assert strides == [[2, 1, 1], [1, 2, 1]]
    assert v1.get_layer("u_shortcut").strides == v15.get_layer("u_shortcut").strides == (2, 2)


def test_dropout_of_wide_resnet():
    """Between the convolutions, after the second BN-ReLU; 0 and inference are the net without; training is not."""
    a = MINIATURES["wrn16_4"]
    plain, dropping = a(), a.with_unit(dropout=0.3)()
    dropping.set_weights(randomise(plain).get_weights())
    x = images(2, 16, 16, 3)
    np.testing.assert_array_equal(dropping(x, training=False), plain(x))
    assert not np.allclose(dropping(x, training=True), plain(x, training=True))
    names = [layer.name for layer in dropping.layers]
    place = names.index("stage1_unit1_dropout")
    assert names[place - 1] == "stage1_unit1_conv1_relu"
    assert "stage1_unit1_conv2" in names[place:]
    assert not [layer for layer in a.with_unit(dropout=0.0)().layers if isinstance(layer, keras.layers.Dropout)]


def test_wrn_40_1_has_no_projection_in_its_first_stage():
    names = [layer.name for layer in WRN40_1().layers if layer.name.endswith("_shortcut")]
    assert names == ["stage2_unit1_shortcut", "stage3_unit1_shortcut"]


# --- stages -----------------------------------------------------------------------------------------------------


def alternating(stage: int, index: int):
    return Basic(Conv3x3(groups=2 if index % 2 == 0 else 1))


def test_unit_by_place():
    row = Staged((2, 3), alternating, widths=(8, 16), stem=Stem3x3(8))
    x = keras.Input((16, 16, 3))
    model = keras.Model(x, row(x))
    groups = {n: model.get_layer(f"{n}_conv1").groups for n in ("stage1_unit1", "stage1_unit2", "stage2_unit2")}
    assert groups == {"stage1_unit1": 1, "stage1_unit2": 2, "stage2_unit2": 2}
    assert model.get_layer("stage2_unit3_conv1").groups == 1


def test_width_by_unit():
    row = Staged((2, 2), Basic(), widths=((8, 12), (16, 20)), stem=Stem3x3(8))
    assert [p[2] for p in row.places()] == [8, 12, 16, 20]
    assert row(keras.Input((16, 16, 3))).shape == (None, 8, 8, 20)
    assert row.stage(2).widths == ((16, 20),)
    with pytest.raises(ValueError, match="one width or 2"):
        replace(row, widths=((8, 12), (16,)))


@pytest.mark.parametrize(("stride_unit", "expected"), [(0, [1, 1, 2, 1, 2, 1, 1]), (-1, [1, 1, 1, 2, 1, 1, 2])])
def test_which_unit_strides(stride_unit, expected):
    row = Staged((2, 2, 3), Basic(), widths=(8, 8, 8), stem=Stem3x3(8), stride_unit=stride_unit)
    assert [p[3] for p in row.places()] == expected
    assert [p[3] for p in row.stage(3).places()] == expected[4:]
    assert row(keras.Input((16, 16, 3))).shape == (None, 4, 4, 8)


def test_too_few_widths():
    with pytest.raises(ValueError, match="widths must have 3 entries"):
        Staged((1, 1, 1), Basic(), widths=(8, 16))


@pytest.mark.parametrize(("side", "cells"), [(224, 56), (225, 57), (33, 9), (32, 8)])
def test_stem_pools_like_torch(side, cells):
    """7x7 stride 2 pad 3, then 3x3 max-pool stride 2 pad 1: ceil(ceil(n / 2) / 2)."""
    x = keras.Input((side, side, 3))
    assert Stem7x7(8)(x).shape == (None, cells, cells, 8)
    if side == 33:
        model = randomise(keras.Model(x, Stem7x7(8)(x)))
        image, n = images(1, side, side, 3), Reference(model)
        y = np.pad(
            relu(n.conv_norm(image, "stem_conv", 2)), [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf
        )
        windows = [y[:, i : i + 2 * cells - 1 : 2, j : j + 2 * cells - 1 : 2] for i in range(3) for j in range(3)]
        np.testing.assert_allclose(model(image), np.max(windows, 0), rtol=1e-4, atol=1e-4)


def test_initialisation():
    """He fan-out for ResNet, fan-in for Wide ResNet: the spread tells them apart."""
    resnet = build_untouched(Basic(), 32, 64)
    wide = MINIATURES["wrn16_4"].row.unit
    assert np.std(resnet) == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.05)
    assert np.std(build_untouched(wide, 32, 64)) == pytest.approx(np.sqrt(2 / (9 * 32)), rel=0.05)


def build_untouched(unit, channels, width):
    x = keras.Input((8, 8, channels))
    return keras.Model(x, unit(x, width, 2, "u")).get_layer("u_conv1").get_weights()[0]


def test_nothing():
    x = keras.Input((8, 8, 3))
    assert nothing(x) is x
