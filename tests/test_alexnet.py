"""AlexNet as the paper has it: its table, its constants, its two towers."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from support import MINIATURES, images, randomise

from keras_cnns import AlexNet, AlexNetOWT, from_json, measure, to_json
from keras_cnns.layers import LocalResponseNormalization
from keras_cnns.models.alexnet import AlexNetBody, AlexNetTowers, carry_weights

# Layer -> output, parameters, MACs.
TABLE = {
    "conv1": ((55, 55, 96), 34_944, 105_415_200),
    "conv2": ((27, 27, 256), 307_456, 223_948_800),
    "conv3": ((13, 13, 384), 885_120, 149_520_384),
    "conv4": ((13, 13, 384), 663_936, 112_140_288),
    "conv5": ((13, 13, 256), 442_624, 74_760_192),
    "fc6": ((4096,), 37_752_832, 37_748_736),
    "fc7": ((4096,), 16_781_312, 16_777_216),
    "logits": ((1000,), 4_097_000, 4_096_000),
}


def test_table_and_start():
    """Sizes and counts of every layer; N(0, 0.01); biases of one in conv2, conv4, conv5 and the hidden dense."""
    model = AlexNet()
    m = measure(model)
    assert {r.name: (r.output_shape, r.params, r.macs) for r in m.layers if r.params} == TABLE
    assert (m.depth, m.receptive_field) == (8, 195)
    # "650,000 neurons": 660,008 with the classes, by these sizes
    assert m.neurons - 4096 - 4096 - 1000 == 290_400 + 186_624 + 64_896 + 64_896 + 43_264
    for name in TABLE:
        layer = model.get_layer(name)
        ones = name in ("conv2", "conv4", "conv5", "fc6", "fc7")
        assert np.all(layer.bias == (1.0 if ones else 0.0)), name
        assert np.std(layer.kernel[:2000]) == pytest.approx(0.01, rel=0.03), name
        assert np.mean(layer.kernel[:2000]) == pytest.approx(0, abs=3e-4), name


def test_order_of_the_layers():
    """ReLU, then normalisation, then overlapping pooling; dropout behind fc6 and fc7."""
    names = [layer.name for layer in MINIATURES["alexnet"]().layers]
    first = ["conv1", "conv1_relu", "lrn1", "pool1", "conv2", "conv2_relu", "lrn2", "pool2", "conv3", "conv3_relu"]
    assert names[1:11] == first
    hidden = [f"{fc}{part}" for fc in ("fc6", "fc7") for part in ("", "_relu", "_dropout")]
    assert names[-9:] == ["flatten", *hidden, "logits", "predictions"]
    model = MINIATURES["alexnet"]()
    lrn = [layer for layer in model.layers if isinstance(layer, LocalResponseNormalization)]
    assert {(n.radius, n.bias, n.alpha, n.beta) for n in lrn} == {(2, 2.0, 1e-4, 0.75)}
    assert {model.get_layer(f"pool{i}").pool_size for i in (1, 2, 5)} == {(3, 3)}
    assert {model.get_layer(f"pool{i}").strides for i in (1, 2, 5)} == {(2, 2)}
    assert [model.get_layer(f"conv{i}").groups for i in range(1, 6)] == [1, 2, 1, 2, 2]
    assert model.get_layer("fc6_dropout").rate == model.get_layer("fc7_dropout").rate == 0.5


def test_one_weird_trick():
    """No groups, no normalisation, dropout before the dense layers."""
    names = [layer.name for layer in MINIATURES["alexnet_owt"]().layers]
    assert not [n for n in names if "lrn" in n]
    i = names.index("flatten")
    assert names[i + 1 :][:6] == ["fc6_dropout", "fc6", "fc6_relu", "fc7_dropout", "fc7", "fc7_relu"]
    shapes = {
        r.name: r.output_shape for r in measure(AlexNetOWT(include_top=False, input_shape=(224, 224, 3))).layers
    }
    assert [shapes[f"conv{i}"][0] for i in range(1, 6)] == [55, 27, 13, 13, 13]
    assert shapes["pool5"] == (6, 6, 256)


def test_preprocessing_subtracts_the_mean_only():
    x = np.full((1, 2, 2, 3), 255, "uint8")
    np.testing.assert_allclose(AlexNet.preprocess_input(x)[0, 0, 0], [131.32, 138.221, 151.061], rtol=1e-6)
    np.testing.assert_allclose(AlexNetOWT.preprocess_input(x)[0, 0, 0], [2.248908, 2.428571, 2.64], atol=1e-4)


# --- the towers drawn apart -------------------------------------------------------------------------------------


def drawn_apart(a):
    return replace(a, row=AlexNetTowers(a.row.widths))


def test_towers_cost_the_same():
    whole = measure(AlexNet(include_top=False, input_shape=(227, 227, 3)))
    apart = measure(drawn_apart(AlexNet)(include_top=False, input_shape=(227, 227, 3)))
    for key in ("params", "trainable_params", "macs", "neurons", "connections", "depth", "receptive_field"):
        assert getattr(whole, key) == getattr(apart, key), key
    shapes = {r.name: r.output_shape for r in apart.layers}
    assert shapes["conv1_tower1"] == shapes["conv1_tower2"] == (55, 55, 48)
    assert shapes["conv5_tower2"] == (13, 13, 128)


def test_towers_are_the_groups():
    """The same weights give the same numbers, there and back."""
    small = MINIATURES["alexnet"]
    whole, apart = randomise(small()), drawn_apart(small)()
    x = images(2, *small.input_shape)
    carry_weights(whole, apart)
    np.testing.assert_allclose(apart(x), whole(x), rtol=1e-5, atol=1e-7)
    assert np.std(whole(x), axis=0).max() > 1e-4  # the images make a difference
    again = small()
    carry_weights(apart, again)
    for a, b in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    carry_weights(apart, other := drawn_apart(small)())
    np.testing.assert_array_equal(other(x), apart(x))
    with pytest.raises(ValueError, match="has no layer 'conv1'"):
        carry_weights(MINIATURES["vgg11"](), apart)


def test_a_tower_does_not_see_the_other():
    """conv4 and conv5 of tower 1 do not change with conv4 of tower 2."""
    small = drawn_apart(MINIATURES["alexnet"])
    model = randomise(small(include_top=False, input_shape=small.input_shape))
    ends = keras.Model(model.input, [model.get_layer(f"conv5_tower{i}_relu").output for i in (1, 2)])
    x = images(2, *small.input_shape)
    before = [np.array(t) for t in ends(x)]
    layer = model.get_layer("conv4_tower2")
    layer.set_weights([2 * w for w in layer.get_weights()])
    after = [np.array(t) for t in ends(x)]
    np.testing.assert_array_equal(after[0], before[0])
    assert np.abs(after[1] - before[1]).max() > 1e-3


def test_towers_are_a_value():
    a = drawn_apart(AlexNet)
    assert from_json(to_json(a)) == a != AlexNet
    with pytest.raises(ValueError, match="widths must be even for two towers"):
        AlexNetBody((96, 256, 384, 384, 255))
    names = [layer.name for layer in drawn_apart(MINIATURES["alexnet"])().layers]
    assert len(set(names)) == len(names)
