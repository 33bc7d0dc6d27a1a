"""GoogLeNet: table 1, the naive module, the auxiliary heads, torchvision's variant."""

import itertools
from dataclasses import replace

import keras
import numpy as np
import pytest
from support import MINIATURES, images, narrow, randomise

import keras_cnns
from keras_cnns import GoogLeNet, GoogLeNetTV, from_json, measure, to_json
from keras_cnns.blocks import Inception, NaiveInception
from keras_cnns.layers import LocalResponseNormalization
from keras_cnns.models.googlenet import AUX_WEIGHT, TABLE1

# Module -> output, parameters, MACs.
TABLE = {
    "3a": ((28, 28, 256), 163_696, 128_049_152),
    "3b": ((28, 28, 480), 388_736, 304_267_264),
    "4a": ((14, 14, 512), 376_176, 73_608_192),
    "4b": ((14, 14, 512), 449_160, 87_908_352),
    "4c": ((14, 14, 512), 510_104, 99_850_240),
    "4d": ((14, 14, 528), 605_376, 118_515_712),
    "4e": ((14, 14, 832), 868_352, 169_996_288),
    "5a": ((7, 7, 832), 1_043_456, 51_079_168),
    "5b": ((7, 7, 1024), 1_444_080, 70_697_984),
}


def test_table_1():
    m = measure(GoogLeNet())
    for name, expected in TABLE.items():
        rows = [r for r in m.layers if r.name.startswith(f"inception_{name}")]
        found = rows[-1].output_shape, sum(r.params for r in rows), sum(r.macs for r in rows)
        assert rows[-1].name == f"inception_{name}"
        assert found == expected, name
    assert m.depth == 22
    assert m.receptive_field == 715  # 907 behind the 7x7 average
    shapes = {r.name: r.output_shape[0] for r in m.layers}
    names = ("conv1", "pool1", "conv2", "pool2", "pool3", "pool4")
    assert [shapes[n] for n in names] == [112, 56, 56, 28, 14, 7]


def test_resolution_falls_and_channels_rise():
    shapes = {r.name: r.output_shape for r in measure(GoogLeNet()).layers}
    trunk = ["conv1", "pool1", "conv2", "pool2", *(f"inception_{n}" for n in TABLE)]
    for (h, _, c), (h2, _, c2) in itertools.pairwise(shapes[n] for n in trunk):
        assert h2 in (h, h // 2)
        assert c2 >= c


def test_odd_sizes_round_up_in_the_pools():
    """Caffe's ceil mode: 113 -> 57 -> 28 -> 14 -> 7 -> 3."""
    shapes = {
        r.name: r.output_shape[0] for r in measure(MINIATURES["googlenet"](input_shape=(113, 113, 3))).layers
    }
    assert [shapes[n] for n in ("conv1", "pool1", "pool2", "pool3", "pool4")] == [57, 28, 14, 7, 3]


def module(part, channels=192, side=28):
    image = keras.Input((side, side, channels))
    return keras.Model(image, part(image, "m"))


def test_reductions_pay():
    """3a with and without: 128 million multiplications against 303; and the naive one can only grow wider."""
    reduced, naive = (measure(module(p)) for p in (TABLE1.stages[0][0], NaiveInception(64, 128, 32)))
    assert (reduced.macs, naive.macs) == (128_049_152, 303_464_448)
    assert reduced.layers[-1].output_shape == (28, 28, 256)
    assert naive.layers[-1].output_shape == (28, 28, 64 + 128 + 32 + 192)
    assert reduced.receptive_field == naive.receptive_field == 5


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Inception(2, 3, 4, 3, 5, 6), [1] * 2 + [2] * 4 + [3] * 5 + [4] * 6),
        (NaiveInception(2, 4, 5), [1] * 2 + [2] * 4 + [3] * 5 + [7] * 8),
    ],
)
def test_order_of_the_branches(part, expected):
    """1x1, 3x3, 5x5, pool: each branch gives its number when all kernels are zero."""
    model = module(part, channels=8, side=6)
    for name, value in {"m_1x1": 1, "m_3x3": 2, "m_5x5": 3, "m_pool_proj": 4}.items():
        if name in [layer.name for layer in model.layers]:
            layer = model.get_layer(name)
            layer.set_weights([0 * layer.kernel.numpy(), np.full(layer.bias.shape, value)])
    y = np.array(model(np.full((1, 6, 6, 8), 7, "float32")))
    assert y[0, 3, 3].tolist() == expected


def test_true_5x5_and_start():
    """Xavier by fan-in and biases of 0.2, as BVLC starts it; 5x5 kernels; LRN with k = 1."""
    model = GoogLeNet()
    layer = model.get_layer("inception_4c_5x5")
    assert layer.kernel.shape == (5, 5, 24, 64)
    limit = np.sqrt(3 / (25 * 24))
    assert 0.99 * limit < np.abs(layer.kernel).max() <= limit
    convolutions = [n for n in model.layers if isinstance(n, keras.layers.Conv2D)]
    assert len(convolutions) == 57
    assert all(np.allclose(n.bias, 0.2) for n in convolutions)
    assert not np.any(model.get_layer("logits").bias)
    lrn = [n for n in model.layers if isinstance(n, LocalResponseNormalization)]
    assert {(n.radius, n.bias, n.alpha, n.beta) for n in lrn} == {(2, 1.0, 1e-4 / 5, 0.75)}
    names = [n.name for n in model.layers]
    order = ["conv1_relu", "pool1", "lrn1", "conv2_reduce", "conv2", "lrn2", "pool2"]
    assert [n for n in names if n in order] == order
    assert model.get_layer("dropout").rate == 0.4


def test_torchvisions():
    model = GoogLeNetTV()
    layers = model.layers
    assert not any(isinstance(n, LocalResponseNormalization) for n in layers)
    convolutions = [n for n in layers if isinstance(n, keras.layers.Conv2D)]
    assert not any(n.use_bias for n in convolutions)
    assert max(n.kernel_size for n in convolutions[1:]) == (3, 3)
    norms = [n for n in layers if isinstance(n, keras.layers.BatchNormalization)]
    assert len(norms) == len(convolutions) == 57
    assert {n.epsilon for n in norms} == {1e-3}
    assert model.get_layer("pool4").pool_size == (2, 2)
    assert model.get_layer("pool3").pool_size == (3, 3)
    assert model.get_layer("dropout").rate == 0.2
    kernel = model.get_layer("inception_5b_3x3").kernel.numpy()
    assert np.abs(kernel).max() <= 0.0201
    assert kernel.std() == pytest.approx(0.0088, rel=0.05)  # 0.01 cut at two deviations
    true = replace(GoogLeNetTV, row=GoogLeNetTV.row.with_module(kernel5=5))
    assert measure(true()).trainable_params == 7_005_832


# --- auxiliary heads --------------------------------------------------------------------------------------------


def small(a):
    """Thin, but with a whole stage 4: the heads hang on 4a and 4d."""
    stages = (a.row.stages[0][:1], a.row.stages[1][:4], a.row.stages[2][:1])
    row = replace(a.row, stages=tuple(tuple(narrow(m) for m in s) for s in stages), widths=(8, 8, 12))
    return replace(a, row=row, aux=replace(a.aux, filters=8, units=16), input_shape=(80, 80, 3), classes=7)


@pytest.mark.parametrize(
    ("a", "params", "macs"), [(GoogLeNet, 13_378_280, 1_591_044_096), (GoogLeNetTV, 13_004_888, None)]
)
def test_counts_with_heads(a, params, macs):
    m = measure(model := a(aux_heads=True))
    assert m.trainable_params == params
    assert macs in (None, m.macs)
    assert m.depth == 22
    assert [t.shape for t in model.outputs] == [(None, 1000)] * 3
    pools = [model.get_layer(f"aux{i}_pool") for i in (1, 2)]
    assert [p.output.shape[1:] for p in pools] == [(4, 4, 512), (4, 4, 528)]
    places = [model.get_layer(f"inception_{n}") for n in ("4a", "4d")]
    assert all(p.input is place.output for p, place in zip(pools, places, strict=True))
    assert {model.get_layer(f"aux{i}_dropout").rate for i in (1, 2)} == {0.7}
    assert model.get_layer("aux1_fc").kernel.shape == (2048, 1024)


@pytest.mark.parametrize("a", [GoogLeNet, GoogLeNetTV])
def test_inference_does_not_depend_on_the_heads(a):
    a = small(a)
    model = randomise(a(aux_heads=True))
    x = images(2, 80, 80, 3)
    main, aux1, aux2 = map(np.array, model(x))
    assert main.shape == aux1.shape == aux2.shape == (2, 7)
    plain = a()
    for layer in plain.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    np.testing.assert_allclose(plain(x), main, rtol=1e-5, atol=1e-7)
    for layer in model.layers:
        if layer.name.startswith("aux") and layer.weights:
            layer.set_weights([w + 1 for w in layer.get_weights()])
    after = [np.array(t) for t in model(x)]
    np.testing.assert_array_equal(after[0], main)
    assert np.abs(after[1] - aux1).max() > 1e-6
    bare = keras.Model(model.input, model.outputs[0])
    np.testing.assert_array_equal(bare(x), main)
    assert not [n.name for n in bare.layers if n.name.startswith("aux")]


def test_training_loss_is_main_and_three_tenths_of_each_head():
    assert AUX_WEIGHT == 0.3
    a = small(GoogLeNet)
    model = a(aux_heads=True, classifier_activation=None)
    loss = a.head.loss()
    model.compile("sgd", [loss] * 3, loss_weights=[1.0, AUX_WEIGHT, AUX_WEIGHT])
    x, y = images(4, 80, 80, 3), np.arange(4)
    total, *_ = model.evaluate(x, [y] * 3, verbose=0)
    parts = [float(loss(y, t)) for t in model(x)]
    assert total == pytest.approx(parts[0] + 0.3 * (parts[1] + parts[2]), rel=1e-5)


def test_logits_of_the_heads(tmp_path):
    """float32 under a mixed policy, by name, before the activation; files keep all three."""
    a = small(GoogLeNet)
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = randomise(a(aux_heads=True))
    names = ("logits", "aux1_logits", "aux2_logits")
    assert {model.get_layer(n).output.dtype for n in names} == {"float32"}
    keras.config.set_dtype_policy("float32")
    model = randomise(a(aux_heads=True))
    x = images(2, 80, 80, 3)
    logits = keras.Model(model.input, [model.get_layer(n).output for n in names])
    for scores, values in zip(model(x), logits(x), strict=True):
        np.testing.assert_allclose(scores, keras.ops.softmax(values), rtol=1e-5, atol=1e-6)
    model.save_weights(tmp_path / "net.weights.h5")
    model.save(tmp_path / "net.keras")
    again = a(aux_heads=True, weights=tmp_path / "net.weights.h5")
    loaded = keras_cnns.load_model(tmp_path / "net.keras")
    for one, two, three in zip(model(x), again(x), loaded(x), strict=True):
        np.testing.assert_array_equal(two, one)
        np.testing.assert_array_equal(three, one)
    plain = a(weights=tmp_path / "net.weights.h5")  # the heads may be left out, as in torchvision's files
    np.testing.assert_allclose(plain(x), model(x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"include_top": False}, "aux_heads=True needs include_top=True"),
        ({"input_shape": (79, 224, 3)}, r"at least 80 pixels a side, got \(79, 224\)"),
        ({"input_shape": (None, None, 3)}, "a fixed size of at least 80"),
        ({"input_shape": (31, 224, 3)}, "at least 32 pixels"),
        ({"classes": 0}, "classes must be"),
        ({"weights": "nowhere.keras"}, "no weights file"),
    ],
)
def test_heads_refuse(arguments, message, monkeypatch):
    monkeypatch.setattr(keras.layers.Layer, "__init__", lambda *args, **kwargs: pytest.fail("a layer was built"))
    for a in (GoogLeNet, GoogLeNetTV):
        with pytest.raises(ValueError, match=message):
            a(aux_heads=True, **arguments)


def test_heads_by_name_and_on_a_tensor():
    model = keras_cnns.create_model("googlenet", input_shape=(96, 96, 3), classes=5, name="mine", aux_heads=True)
    assert [t.shape for t in model.outputs] == [(None, 5)] * 3
    assert model.name == "mine"
    source = keras.Input((80, 80, 3), name="source")
    onto = small(GoogLeNet)(input_tensor=keras.layers.Rescaling(2.0)(source), aux_heads=True)
    assert onto.input.name == "source"
    with pytest.raises(TypeError, match="aux_heads"):
        keras_cnns.create_model("resnet20", aux_heads=True)


def test_replace_keeps_the_heads():
    a = replace(GoogLeNet, name="mine", aux=replace(GoogLeNet.aux, dropout=0.5))
    assert type(a) is type(GoogLeNet)
    again = from_json(to_json(a))
    assert again == a
    assert again.aux.dropout == 0.5
    with pytest.raises(ValueError, match=r"AuxHead.dropout must be"):
        replace(GoogLeNet.aux, dropout=1.5)
