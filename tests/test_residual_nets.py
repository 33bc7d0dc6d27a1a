"""ResNetV2, ResNeXt, SE-ResNet, SKNet, ResNeSt, RepVGG: units against numpy, their laws, `keras.applications`."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from support import MINIATURES, Reference, build, images, miniature, randomise, relu

import keras_cnns
from keras_cnns import measure, zoo
from keras_cnns.blocks import (
    BareProjection,
    BareProjectionOrPick,
    Basic,
    Bottleneck,
    Conv3x3,
    DeepStem,
    NormAfterAddition,
    PooledProjection,
    PreActivationBasic,
    PreActivationBottleneck,
    Projection,
    ReluBeforeAddition,
    ReluPreActivation,
    RepVGGUnit,
    SelectiveKernel,
    SplitAttention,
    SqueezeExcite,
    StemConv7x7,
)
from keras_cnns.blocks.conv import conv
from keras_cnns.models import repvgg, resnest, resnet_v2, resnext

CASES = [(8, 8, 1, 7), (4, 8, 2, 8), (4, 8, 2, 7), (4, 8, 1, 6)]  # channels, width, stride, side
CASE = pytest.mark.parametrize(("channels", "width", "stride", "side"), CASES)


def close(ours, expected, scale=1e-4):
    """Equal within a fraction of the greatest number."""
    np.testing.assert_allclose(ours, expected, rtol=0, atol=scale * np.abs(expected).max())


def model_of(part, channels, side=7, **arguments):
    x = keras.Input((side, side, channels))
    return randomise(keras.Model(x, part(x, **arguments)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def mean(x):
    return x.mean((1, 2), keepdims=True)


# --- pre-activation, and the five orders ------------------------------------------------------------------------


@pytest.mark.parametrize("stride_at", [1, 2])
@pytest.mark.parametrize(("channels", "width", "stride", "side"), [*CASES, (32, 8, 1, 5)])
def test_pre_activation_bottleneck(channels, width, stride, side, stride_at):
    """A projection reads the shared BN-ReLU; the identity is the raw input."""
    model = build(PreActivationBottleneck(stride_at=stride_at), channels, width, stride, side)
    x, n = images(2, side, side, channels), Reference(model)
    first, second = (stride, 1) if stride_at == 1 else (1, stride)
    a = relu(n.norm(x, "u_preact_norm"))
    y = relu(n.conv_norm(relu(n.conv_norm(a, "u_conv1", first)), "u_conv2", second))
    y = n.conv(y, "u_conv3")
    skip = x if (channels, stride) == (4 * width, 1) else n.conv(a, "u_shortcut", stride)
    close(model(x), y + skip)


@CASE
def test_orders_b_c_d(channels, width, stride, side):
    x = images(2, side, side, channels)

    def parts(unit):
        model = build(unit, channels, width, stride, side)
        n = Reference(model)
        skip = x if (channels, stride) == (width, 1) else n.conv_norm(x, "u_shortcut", stride)
        return model, n, skip

    model, n, skip = parts(NormAfterAddition())
    y = n.conv(relu(n.conv_norm(x, "u_conv1", stride)), "u_conv2")
    close(model(x), relu(n.norm(y + skip, "u_add_norm")))
    model, n, skip = parts(ReluBeforeAddition())
    y = relu(n.conv_norm(relu(n.conv_norm(x, "u_conv1", stride)), "u_conv2"))
    close(model(x), y + skip)
    model, n, skip = parts(ReluPreActivation())
    y = n.conv_norm(relu(n.conv_norm(relu(x), "u_conv1", stride)), "u_conv2")
    close(model(x), y + skip)


def silence(model):
    """Zeroes the last convolution of the branch; where a norm follows it there, that norm's affine terms."""
    names = {layer.name for layer in model.layers}
    last = "u_conv3" if "u_conv3" in names else "u_conv2"
    if f"{last}_norm" in names:
        norm = model.get_layer(f"{last}_norm")
        norm.gamma.assign(0 * norm.gamma)
        norm.beta.assign(0 * norm.beta)
    else:
        model.get_layer(last).kernel.assign(0 * model.get_layer(last).kernel)
    return model


def test_what_a_silent_branch_leaves_of_the_signal():
    """(e) leaves x, and so do (c) and (d); (a) gives ReLU(x), (b) ReLU(BN(x))."""
    x = images(2, 7, 7, 4)
    for unit in (PreActivationBasic(), ReluBeforeAddition(), ReluPreActivation()):
        np.testing.assert_array_equal(silence(build(unit, 4, 4, 1))(x), x)
    np.testing.assert_array_equal(silence(build(PreActivationBottleneck(), 4, 1, 1))(x), x)
    np.testing.assert_array_equal(silence(build(Basic(), 4, 4, 1))(x), relu(x))
    b = silence(build(NormAfterAddition(), 4, 4, 1))
    close(b(x), relu(Reference(b).norm(x, "u_add_norm")))
    assert not np.allclose(b(x), relu(x), atol=1e-2)


def test_order_c_only_grows():
    x = images(2, 7, 7, 4)
    assert np.all(np.array(build(ReluBeforeAddition(), 4, 4, 1)(x)) >= x)
    for unit in (ReluPreActivation(), PreActivationBasic()):
        assert np.any(np.array(build(unit, 4, 4, 1)(x)) < x)


def test_silent_stage_of_a_v2_network_is_the_identity():
    """Through all units of a stage, x_L = x_l + the sum of the branches."""
    a = miniature(keras_cnns.ResNet110V2)
    x = keras.Input((16, 16, 3))
    stem = a.row.stem(x)
    model = randomise(keras.Model(x, [stem, replace(a.row, depths=(3,)).stage(1)(stem)]))
    for layer in model.layers:
        if layer.name.endswith("_conv2"):
            layer.kernel.assign(0 * layer.kernel)
    before, after = model(images(1, 16, 16, 3))
    np.testing.assert_array_equal(before, after)


def test_option_a_of_v2_carries_the_raw_signal():
    model = MINIATURES["resnet110_v2"](include_top=False, input_shape=(16, 16, 3))
    for layer in randomise(model).layers:
        if layer.name.endswith("_conv2"):
            layer.kernel.assign(0 * layer.kernel)
    ends = [model.get_layer("stem_conv").output, model.get_layer("stage3_unit1_add").output]
    first, last = map(np.array, keras.Model(model.input, ends)(images(2, 16, 16, 3)))
    assert first.min() < 0
    np.testing.assert_array_equal(last[..., : first.shape[-1]], first[:, ::4, ::4])
    assert not last[..., first.shape[-1] :].any()


@pytest.mark.parametrize("side", [31, 32, 33])
def test_stem_of_v2_pools_signed_values(side):
    """As torch does, with -inf around the image."""
    model = model_of(StemConv7x7(4), 3, side)
    x, n = images(1, side, side, 3), Reference(model)
    y = n.conv(x, "stem_conv", 2)
    cells = -(-y.shape[1] // 2)
    y = np.pad(y, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    windows = [y[:, i : i + 2 * cells - 1 : 2, j : j + 2 * cells - 1 : 2] for i in range(3) for j in range(3)]
    expected = np.max(windows, 0)
    assert expected.min() < 0
    close(model(x), expected)


def test_counts_of_other_v2_networks(zeros):
    """Figures of the literature."""
    b = lambda depth: replace(  # noqa: E731
        keras_cnns.ResNet110V2, row=replace(keras_cnns.ResNet110V2.row, depths=((depth - 2) // 6,) * 3)
    ).with_unit(shortcut=BareProjection())
    assert measure(b(20)()).trainable_params == 272_282
    deep = replace(keras_cnns.ResNet164V2, row=resnet_v2.cifar_bottleneck_row(29))
    assert (measure(deep()).trainable_params, measure(deep()).macs) == (312_218, 43_960_832)


# --- ResNeXt ----------------------------------------------------------------------------------------------------


def test_the_three_forms_are_one_function():
    """(a) == (b) == (c) with each other's weights, back and forth, stride and projections included."""
    unit = Bottleneck(Conv3x3(groups=4), inner=2)
    c = replace(keras_cnns.ResNeXt29_8x64d, input_shape=(16, 16, 3), name="c")
    c = replace(c, row=replace(c.row, depths=(1, 2, 1), widths=(4, 8, 8), stem=replace(c.row.stem, filters=8)))
    rows = [replace(c.row, unit=u) for u in (resnext.branches(unit), resnext.concatenation(unit), unit)]
    nets = [randomise(replace(c, row=row)(classifier_activation=None), seed=i) for i, row in enumerate(rows)]
    x = images(2, 16, 16, 3)
    for source in nets:
        expected = np.array(source(x))
        others = [net for net in nets if net is not source]
        for target in others:
            assert not np.allclose(target(x), expected, atol=1e-2)
            resnext.carry_weights(source, target)
            close(target(x), expected, 1e-5)
        for i, other in enumerate(others):
            randomise(other, seed=10 + i)
    a, b, c = map(measure, nets)
    assert a.trainable_params == b.trainable_params == c.trainable_params
    assert a.macs == b.macs == c.macs
    assert a.depth == b.depth == c.depth
    assert a.receptive_field == b.receptive_field == c.receptive_field


def test_weights_are_carried_between_forms_only():
    c = build(Bottleneck(Conv3x3(groups=4), inner=2), 8, 4, 1)
    other = build(resnext.branches(Bottleneck(Conv3x3(groups=4), inner=4)), 8, 4, 1)
    before = other.get_weights()
    with pytest.raises(ValueError, match="do not fit"):
        resnext.carry_weights(c, other)
    with pytest.raises(ValueError, match="only one has"):
        resnext.carry_weights(c, build(Basic(), 8, 4, 1))
    for one, two in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_branches_must_divide_the_filters():
    with pytest.raises(ValueError, match="filters must divide by 3 branches, got 8"):
        build(resnext.branches(Bottleneck(Conv3x3(groups=3), inner=2)), 8, 4, 1)


def test_weights_of_a_path_bundle():
    """Section 3.3 of the paper: 70,144 weights in 32 paths of 4, 69,632 in the bottleneck."""
    kernels = lambda unit: sum(  # noqa: E731
        w.numpy().size for w in build(unit, 256, 64, 1).weights if w.path.endswith("kernel")
    )
    assert kernels(resnext.bottleneck(32, 4)) == 70_144
    assert kernels(Bottleneck()) == 69_632


@pytest.mark.parametrize(
    ("cardinality", "width", "params"),
    [(1, 64, 4_914_250), (2, 64, 9_130_314), (4, 64, 17_562_442), (16, 32, 25_136_970)],
)
def test_counts_of_other_resnext_29(cardinality, width, params, zeros):
    a = replace(
        keras_cnns.ResNeXt29_8x64d, row=replace(resnext.RESNEXT29, unit=resnext.bottleneck(cardinality, width))
    )
    assert measure(a()).trainable_params == params


# --- SE-ResNet --------------------------------------------------------------------------------------------------


def test_squeeze_excite():
    model = model_of(SqueezeExcite(4), 8, name="g")
    x, n = images(3, 7, 7, 8), Reference(model)
    assert n.w["g_reduce/kernel"].shape == (1, 1, 8, 2)
    gate = sigmoid(n.conv(relu(n.conv(mean(x), "g_reduce")), "g_expand"))
    assert ((gate > 0) & (gate < 1)).all()
    close(model(x), x * gate)
    for name in ("g_expand/kernel", "g_expand/bias"):
        weight = next(w for w in model.weights if w.path == name)
        weight.assign(0 * weight)
    close(model(x), x / 2, 1e-6)


def test_gate_stands_before_the_addition():
    model = build(Bottleneck(gate=SqueezeExcite(4)), 16, 4, 1)
    x, n = images(2, 7, 7, 16), Reference(model)
    y = relu(n.conv_norm(relu(n.conv_norm(x, "u_conv1")), "u_conv2"))
    y = n.conv_norm(y, "u_conv3")
    y = y * sigmoid(n.conv(relu(n.conv(mean(y), "u_gate_reduce")), "u_gate_expand"))
    close(model(x), relu(x + y))


def test_squeezed_width_is_never_rounded():
    widths = [w.shape[-1] for w in MINIATURES["seresnet18"]().weights if "gate_reduce/kernel" in w.path]
    assert widths == [4, 4, 8, 16, 32]  # half of 8, 8, 16, 32, 64
    model = build(Basic(gate=SqueezeExcite(16)), 64, 64, 1)
    assert model.get_layer("u_gate_reduce").filters == 4


def test_published_se_resnet_strides_on_the_1x1(zeros):
    m = measure(keras_cnns.SEResNet50.with_unit(stride_at=1)())
    assert (m.trainable_params, m.macs, m.depth) == (28_088_024, 3_860_488_192, 50)


def test_se_resnet_20_with_option_b(zeros):
    assert measure(keras_cnns.SEResNet20.with_unit(shortcut=Projection())()).trainable_params == 274_847


# --- SKNet ------------------------------------------------------------------------------------------------------

BRANCHES = [((3, 1), (3, 2)), ((3, 1), (5, 1)), ((3, 1), (3, 2), (5, 2)), ((1, 1), (3, 1))]


@pytest.mark.parametrize("branches", BRANCHES, ids=str)
@pytest.mark.parametrize(("stride", "side"), [(1, 7), (2, 8), (2, 7)])
def test_selective_kernel(branches, stride, side):
    model = build(SelectiveKernel(branches, groups=4, least=4), 8, 16, stride, side)
    x, n = images(2, side, side, 8), Reference(model)
    u = [relu(n.conv_norm(x, f"u_branch{i}", stride, d)) for i, (_, d) in enumerate(branches, 1)]
    z = relu(n.conv_norm(mean(sum(u)), "u_reduce"))
    assert z.shape[-1] == 4
    logits = n.conv(z, "u_select").reshape(2, len(u), 16)
    weights = softmax(logits, 1)
    close(model(x), sum(a[:, None, None] * b for a, b in zip(np.moveaxis(weights, 1, 0), u, strict=True)))
    shares = [layer.output for layer in model.layers if "_share" in layer.name]
    close(sum(np.array(s) for s in keras.Model(model.input, shares)(x)), np.ones((2, 1, 1, 16)), 1e-6)


def test_equal_logits_give_the_mean_of_the_branches():
    model = build(SelectiveKernel(groups=4), 8, 8, 1)
    model.get_layer("u_select").kernel.assign(np.zeros((1, 1, 32, 16)))
    x, n = images(2, 7, 7, 8), Reference(model)
    close(model(x), sum(relu(n.conv_norm(x, f"u_branch{d}", 1, d)) for d in (1, 2)) / 2)


def test_exchanged_branches_with_their_logits_change_nothing():
    one = build(SelectiveKernel(((3, 1), (3, 2)), groups=4), 8, 8, 1)
    other = build(SelectiveKernel(((3, 2), (3, 1)), groups=4), 8, 8, 1)
    swapped = {"1": "2", "2": "1"}
    for layer in other.layers:
        name = layer.name
        if name.startswith("u_branch"):
            name = "u_branch" + swapped[name[8]] + name[9:]
        weights = one.get_layer(name if layer.weights else layer.name).get_weights() if layer.weights else []
        if name == "u_select":
            weights = [np.roll(weights[0], 8, -1)]
        layer.set_weights(weights)
    x = images(2, 7, 7, 8)
    close(other(x), one(x), 1e-6)


def test_one_path_is_the_plain_network():
    """Equal weights too: nothing is left of the attention."""
    selective = MINIATURES["sknet26"].with_unit(spatial=SelectiveKernel(((3, 1),)))()
    plain = MINIATURES["resnext50_32x4d"]()
    plain.set_weights(randomise(selective).get_weights())
    x = images(2, 64, 64, 3)
    np.testing.assert_array_equal(selective(x), plain(x))


@pytest.mark.parametrize("branches", [(), ((3, 1), (4, 1)), ((3,),), ((3, 0),), 3])
def test_branches_that_cannot_be(branches):
    with pytest.raises(ValueError, match="branches"):
        SelectiveKernel(branches)


def test_attention_is_a_gate_to_measure(zeros):
    """Depths 26 and 50 by name; on a plain ResNet the branches cost what two 3x3 do."""
    assert measure(keras_cnns.SKNet26()).depth == 26
    plain = keras_cnns.ResNet50.with_unit(spatial=SelectiveKernel(groups=1))()
    assert measure(plain).depth == 50
    assert plain.get_layer("stage1_unit1_conv2_branch2").dilation_rate == (2, 2)


# --- ResNeSt ----------------------------------------------------------------------------------------------------


def average(x):
    """3x3 stride 2, zeros around the image counted."""
    x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    h, w = ((n - 3) // 2 + 1 for n in x.shape[1:3])
    return sum(x[:, i : i + 2 * h - 1 : 2, j : j + 2 * w - 1 : 2] for i in range(3) for j in range(3)) / 9


@pytest.mark.parametrize("pool_at", [1, 2])
@pytest.mark.parametrize(("radix", "cardinality"), [(1, 1), (2, 1), (1, 4), (4, 2), (2, 2)])
@pytest.mark.parametrize(("stride", "side"), [(1, 7), (2, 8), (2, 7)])
def test_split_attention(radix, cardinality, pool_at, stride, side):
    """Splits are radix-major, logits cardinality-major: r-softmax transposes."""
    model = build(SplitAttention(radix, cardinality, least=8, pool_at=pool_at), 16, 16, stride, side)
    x, n = images(2, side, side, 16), Reference(model)
    y = average(x) if (stride, pool_at) == (2, 1) else x
    u = relu(n.conv_norm(y, "u"))
    splits = np.split(u, radix, -1)
    z = relu(n.conv_norm(mean(sum(splits)), "u_reduce"))
    assert z.shape[-1] == max(radix * 4, 8)
    logits = n.conv(z, "u_select")
    if radix == 1:
        weights = sigmoid(logits)[:, None]
    else:
        weights = softmax(logits.reshape(2, cardinality, radix, 16 // cardinality), 2)
        weights = weights.transpose(0, 2, 1, 3).reshape(2, radix, 1, 1, 16)
    expected = sum(s * weights[:, r] for r, s in enumerate(splits))
    close(model(x), average(expected) if (stride, pool_at) == (2, 2) else expected)


def test_zero_logits_give_the_mean_of_the_splits():
    for radix, factor in ((4, 1 / 4), (1, 1 / 2)):
        model = build(SplitAttention(radix), 8, 8, 1)
        for weight in model.get_layer("u_select").weights:
            weight.assign(0 * weight)
        x, n = images(2, 7, 7, 8), Reference(model)
        close(model(x), sum(np.split(relu(n.conv_norm(x, "u")), radix, -1)) * factor)


@pytest.mark.parametrize("side", [7, 8])
def test_pooled_projection(side):
    """2x2 average pooling in ceil mode without counting the padding, then the 1x1; stride 1 has no pool."""
    model = model_of(PooledProjection(), 4, side, filters=8, stride=2, name="s")
    x, n = images(2, side, side, 4), Reference(model)
    cells = range(0, side, 2)
    y = np.stack([np.stack([x[:, i : i + 2, j : j + 2].mean((1, 2)) for j in cells], 1) for i in cells], 1)
    close(model(x), n.conv_norm(y, "s"))
    flat = model_of(PooledProjection(), 4, side, filters=8, stride=1, name="s")
    assert not [layer for layer in flat.layers if "pool" in layer.name]
    inner = keras.Input((side, side, 4))
    assert PooledProjection()(inner, 4, 1, "s") is inner


def test_deep_stem():
    model = model_of(DeepStem(8), 3, 32)
    assert model.output_shape == (None, 8, 8, 8)
    shapes = [model.get_layer(f"stem_conv{i}").kernel.shape for i in (1, 2, 3)]
    assert shapes == [(3, 3, 3, 4), (3, 3, 4, 4), (3, 3, 4, 8)]


ABLATIONS = [  # radix, cardinality, width; the release's "-fast" ablations of ResNeSt-50
    (2, 1, 64, 27_483_240, 4_330_711_040),
    (1, 1, 64, 26_217_896, 4_329_459_712),
    (4, 1, 64, 31_912_712, 4_335_112_192),
    (1, 2, 40, 25_946_680, 4_364_642_816),
    (2, 2, 40, 26_943_792, 4_365_622_336),
]


@pytest.mark.parametrize(("radix", "cardinality", "width", "params", "macs"), ABLATIONS)
def test_pooling_before_the_attention(radix, cardinality, width, params, macs, zeros):
    unit = resnest.unit(radix, cardinality, width, pool_at=1)
    m = measure(replace(keras_cnns.ResNeSt50, row=replace(resnest.RESNEST50, unit=unit))())
    assert (m.trainable_params, m.macs) == (params, macs)
    assert m.depth == 52  # the stem has three layers; the name counts one


@pytest.mark.parametrize(("name", "macs"), [("resnest14", 1_708_955_648), ("resnest26", 2_582_941_696)])
def test_pooling_before_in_the_small_ones(name, macs, zeros):
    a = keras_cnns.zoo.architecture(name)
    assert measure(replace(a, row=replace(a.row, unit=resnest.unit(2, 1, 64, pool_at=1)))()).macs == macs


# --- RepVGG -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2])
@CASE
def test_repvgg_unit(channels, width, stride, side, groups):
    model = build(RepVGGUnit(groups), channels, width, stride, side)
    x, n = images(2, side, side, channels), Reference(model)
    y = n.conv_norm(x, "u_3x3", stride) + n.conv_norm(x, "u_1x1", stride)
    if (channels, stride) == (width, 1):
        y = y + n.norm(x, "u_identity_norm")
    assert ("u_identity_norm" in {layer.name for layer in model.layers}) == ((channels, stride) == (width, 1))
    close(model(x), relu(y))


def test_gate_of_repvgg_stands_before_the_relu():
    model = build(RepVGGUnit(gate=SqueezeExcite(2)), 4, 8, 2, 8)
    x, n = images(2, 8, 8, 4), Reference(model)
    y = n.conv_norm(x, "u_3x3", 2) + n.conv_norm(x, "u_1x1", 2)
    y = y * sigmoid(n.conv(relu(n.conv(mean(y), "u_gate_reduce")), "u_gate_expand"))
    close(model(x), relu(y))
    stem = MINIATURES["repvgg_d2se"]().get_layer("stem_gate_scale")
    assert stem.output.shape[-1] == 8


def test_groups_alternate(zeros):
    """Layers 2, 4, ... 26 counted from the stem, which is layer 0; both kernels."""
    model = keras_cnns.RepVGGB1G4()
    units = ["stem", *(f"stage{s}_unit{i}" for s, i, *_ in keras_cnns.RepVGGB1G4.row.places())]
    groups = [{model.get_layer(f"{u}_{k}").groups for k in ("3x3", "1x1")} for u in units]
    assert groups == [{4} if i and i % 2 == 0 else {1} for i in range(28)]


@pytest.mark.parametrize("name", ["repvgg_a0", "repvgg_b1g4"])
def test_the_1x1_are_what_deployment_saves(name, zeros):
    """Differences of the training rows and the deployed ones, from the release."""
    deployed = {"repvgg_a0": (8_309_384, 1_361_451_008), "repvgg_b1g4": (36_125_416, 7_306_870_784)}[name]
    m = measure(keras_cnns.create_model(name))
    assert m.macs - sum(r.macs for r in m.layers if r.name.endswith("_1x1")) == deployed[1]
    kernels = sum(r.params for r in m.layers if r.name.endswith("_3x3"))
    biases = sum(r.output_shape[-1] for r in m.layers if r.name.endswith("_3x3"))
    head = next(r.params for r in m.layers if r.name == "logits")
    assert kernels + biases + head == deployed[0]


def test_every_stage_of_repvgg_strides():
    strides = [s for *_, s in keras_cnns.RepVGGA0.row.places()]
    assert [i for i, s in enumerate(strides) if s == 2] == [0, 2, 6, 20]
    with pytest.raises(ValueError, match="repvgg_g2 is a function"):
        keras_cnns.RepVGGB1G2.with_unit(groups=3)
    assert keras_cnns.from_json(keras_cnns.to_json(keras_cnns.RepVGGB1G2)).row.unit is repvgg.repvgg_g2


# --- keras.applications -----------------------------------------------------------------------------------------


def give(layer, *sources):
    layer.set_weights([w for source in sources for w in source.get_weights()])


def places(row):
    return [f"stage{s}_unit{i}" for s, i, *_ in row.places()]


@pytest.mark.parametrize(
    ("depth", "side"), [(50, 64), (50, 75), *(pytest.param(d, 64, marks=pytest.mark.slow) for d in (101, 152))]
)
def test_resnet_v1_is_that_of_keras_applications(depth, side, zeros):
    """Their convolutions have biases, which fold into the moving mean behind them."""
    build = getattr(keras.applications, f"ResNet{depth}")
    theirs = build(weights=None, include_top=False, input_shape=(side, side, 3))
    rng = np.random.default_rng(0)
    theirs.set_weights(
        [rng.standard_normal(w.shape, "float32") * (2 / np.prod(w.shape[:-1])) ** 0.5 for w in theirs.weights]
    )
    randomise(theirs)
    a = zoo.architecture(f"resnet{depth}_v1")
    ours = a(include_top=False, input_shape=(side, side, 3))
    pairs = {"stem_conv": "conv1"}
    for place in places(a.row):
        stage, unit = int(place[5]), place.partition("unit")[2]
        for mine, number in (("shortcut", 0), ("conv1", 1), ("conv2", 2), ("conv3", 3)):
            pairs[f"{place}_{mine}"] = f"conv{stage + 1}_block{unit}_{number}"
    assert sum(bool(layer.weights) for layer in theirs.layers) == 2 * (depth + 3)  # convolutions and norms
    names = {layer.name for layer in ours.layers}
    for mine, other in pairs.items():
        if mine in names:
            kernel, bias = theirs.get_layer(f"{other}_conv").get_weights()
            gamma, beta, mean, variance = theirs.get_layer(f"{other}_bn").get_weights()
            ours.get_layer(mine).set_weights([kernel])
            ours.get_layer(f"{mine}_norm").set_weights([gamma, beta, mean - bias, variance])
    x = images(2, side, side, 3)
    close(ours(x), np.array(theirs(x)))


def biased_stem(x):
    """Theirs: a bias, and zeros around the signed values that the pool sees."""
    x = conv(x, 64, 7, stride=2, bias=True, name="stem_conv")
    return keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(keras.layers.ZeroPadding2D(1)(x))


@pytest.mark.parametrize("side", [64, 75])
def test_resnet50_v2_is_that_of_keras_applications(side):
    """Theirs strides in the last unit of a stage; its biases travel along the shortcuts to the next norms."""
    theirs = randomise(keras.applications.ResNet50V2(weights=None, include_top=False, input_shape=(side, side, 3)))
    row = replace(resnet_v2.RESNET50_V2, stem=biased_stem, stride_unit=-1, strides=(2, 2, 2, 1))
    a = replace(keras_cnns.ResNet50V2, row=row.with_unit(shortcut=BareProjectionOrPick()))
    ours = a(include_top=False, input_shape=(side, side, 3))
    give(ours.get_layer("stem_conv"), theirs.get_layer("conv1_conv"))
    carried = np.zeros(64)

    def norm(mine, other, shift):
        gamma, beta, mean, variance = theirs.get_layer(other).get_weights()
        ours.get_layer(mine).set_weights([gamma, beta, mean - shift, variance])

    for place in places(a.row):
        base = f"conv{int(place[5]) + 1}_block{place.partition('unit')[2]}"
        # the stem's bias is in both networks, so nothing is carried into the first unit
        norm(f"{place}_preact_norm", f"{base}_preact_bn", carried)
        for i in (1, 2):
            give(ours.get_layer(f"{place}_conv{i}"), theirs.get_layer(f"{base}_{i}_conv"))
            norm(f"{place}_conv{i}_norm", f"{base}_{i}_bn", 0)
        kernel, bias = theirs.get_layer(f"{base}_3_conv").get_weights()
        ours.get_layer(f"{place}_conv3").set_weights([kernel])
        if place.endswith("unit1"):
            projection, carried = theirs.get_layer(f"{base}_0_conv").get_weights()
            ours.get_layer(f"{place}_shortcut").set_weights([projection])
        carried = carried + bias
    norm("finish_norm", "post_bn", carried)
    x = images(2, side, side, 3)
    close(ours(x), np.array(theirs(x)))
