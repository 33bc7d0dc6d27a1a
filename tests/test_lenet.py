"""LeNet-5 as the paper has it: sparse third layer, trainable sub-sampling, RBF output, its two losses."""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import images, randomise

from keras_cnns import LeNet5, LeNet5Modern, measure
from keras_cnns.layers import RBF, MAPLoss, RBFLoss, SparseConv2D, SubSampling2D, scaled_tanh
from keras_cnns.models.lenet import C3, codes

# Table of section II: layer -> (trainable parameters, connections).
PAPER = {
    "c1": (156, 122_304),
    "s2": (12, 5_880),
    "c3": (1_516, 151_600),
    "s4": (32, 2_000),
    "c5": (48_120, 48_120),
    "f6": (10_164, 10_164),
    "rbf": (0, 840),
}


def test_table_of_the_paper():
    model = LeNet5()
    m = measure(model)
    connections = {row.name: row.connections for row in m.layers if row.connections}
    trainable = {
        name: sum(w.value.shape.num_elements() for w in model.get_layer(name).trainable_weights) for name in PAPER
    }
    assert {name: (trainable[name], connections[name]) for name in connections} == PAPER
    assert (m.trainable_params, m.connections, m.macs, m.depth) == (60_000, 340_908, 325_680, 7)
    assert m.receptive_field == 32
    shapes = {n: model.get_layer(n).output.shape[1:] for n in PAPER}
    assert shapes["c1"] == (28, 28, 6)
    assert shapes["s2"] == (14, 14, 6)
    assert shapes["c3"] == (10, 10, 16)
    assert shapes["s4"] == (5, 5, 16)
    assert shapes["c5"] == (1, 1, 120)


def test_table_of_c3():
    assert len(C3) == 16
    assert Counter(map(len, C3)) == {3: 6, 4: 9, 6: 1}
    assert sum(map(len, C3)) == 60
    assert Counter(i for row in C3 for i in row) == dict.fromkeys(range(6), 10)
    assert all(list(row) == sorted(set(row)) for row in C3)
    assert len(set(C3)) == 16


def test_sparse_convolution_is_a_masked_dense_one():
    x = images(2, 9, 8, 6)
    layer = SparseConv2D(C3)
    y = layer(x)
    assert layer.kernel.shape == (5, 5, 60)
    layer.bias.assign(images(16))
    dense = np.zeros((5, 5, 6, 16), "float32")
    link = 0
    for o, row in enumerate(C3):
        for i in row:
            dense[:, :, i, o] = layer.kernel.numpy()[:, :, link]
            link += 1
    expected = np.array(keras.ops.conv(x, dense, padding="valid")) + layer.bias.numpy()
    assert y.shape == layer.compute_output_shape(x.shape) == expected.shape
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="needs 6 input maps, got 5"):
        SparseConv2D(C3)(images(1, 8, 8, 5))


def test_initial_weights_follow_the_fan_in():
    """U(-2.4/F, 2.4/F) of appendix A, F the inputs of a unit: 75, 100 or 150 in C3."""
    layer = SparseConv2D(C3)
    layer.build((None, 14, 14, 6))
    for link, fan_in in enumerate(25 * len(row) for row in C3 for _ in row):
        top = np.abs(layer.kernel.numpy()[..., link]).max()
        assert 0.5 * 2.4 / fan_in < top <= 2.4 / fan_in
    model = LeNet5()
    for name, fan_in in (("c1", 25), ("c5", 400), ("f6", 120), ("s2", 4)):
        assert np.abs(model.get_layer(name).get_weights()[0]).max() <= 2.4 / fan_in


def test_sub_sampling():
    x = images(2, 6, 5, 3)
    layer = SubSampling2D()
    layer.build(x.shape)
    layer.coefficient.assign(images(3, seed=2))
    layer.bias.assign(images(3, seed=3))
    expected = np.empty((2, 3, 2, 3), "float32")
    for i in range(3):
        for j in range(2):
            square = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].sum((1, 2))
            expected[:, i, j] = square * layer.coefficient.numpy() + layer.bias.numpy()
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)
    assert layer.compute_output_shape(x.shape) == expected.shape


def test_scaled_tanh():
    """f(1) = 1, f(-1) = -1 to six digits; odd; its curvature peaks near 1."""
    assert float(scaled_tanh(1.0)) == pytest.approx(0.9999973, abs=1e-6)
    a = np.linspace(0, 3, 3001)
    f = 1.7159 * np.tanh(2 * a / 3)
    np.testing.assert_allclose(scaled_tanh(-a), -f, rtol=1e-6)
    assert abs(a[np.argmax(np.abs(np.gradient(np.gradient(f, a), a)))] - 1) < 0.02


def test_codes():
    """Properties of figure 3 rather than its pixels."""
    digits = codes(10)
    assert digits.shape == (10, 84)
    assert set(np.unique(digits)) == {-1, 1}
    distance = (digits[:, None] != digits).sum(-1)
    pairs = {(i, j): int(distance[i, j]) for i in range(10) for j in range(i + 1, 10)}
    assert min(pairs.values()) == 12
    assert [p for p, d in pairs.items() if d == 12] == [(6, 8)]
    assert max(pairs.values()) == 50
    assert [p for p, d in pairs.items() if d == 50] == [(1, 4), (1, 8), (4, 7)]
    np.testing.assert_array_equal(codes(26)[:10], digits)
    np.testing.assert_array_equal(codes(26), codes(26))
    assert len({tuple(row) for row in codes(200)}) == 200


def test_rbf_penalties():
    layer = RBF(codes(10))
    x = images(5, 84)
    penalties = np.array(layer(x))
    w = codes(10).astype("float32")
    assert np.all(penalties >= 0)
    np.testing.assert_allclose(penalties, (x * x).sum(-1, keepdims=True) - 2 * x @ w.T + 84, rtol=1e-4)
    vertices = np.array(layer(w))
    np.testing.assert_allclose(vertices, 4 * (w[:, None] != w).sum(-1), atol=1e-4)
    assert vertices.argmin(-1).tolist() == list(range(10))
    assert not layer.trainable_weights
    with tf.GradientTape() as tape:
        t = tf.constant(x)
        tape.watch(t)
        third = layer(t)[:, 3]
    np.testing.assert_allclose(tape.gradient(third, t), 2 * (x - w[3]), rtol=1e-5, atol=1e-6)


def test_logits_are_negated_penalties():
    model = randomise(LeNet5(classifier_activation=None))
    penalties = keras.Model(model.input, model.get_layer("rbf").output)
    x = images(2, 32, 32, 1)
    np.testing.assert_allclose(model(x), -penalties(x), rtol=1e-6)
    np.testing.assert_allclose(LeNet5().get_layer("rbf").get_weights()[0], codes(10))
    assert LeNet5(classes=26).output_shape == (None, 26)


@pytest.mark.parametrize("j", [0.1, 1.0, 7.0])
def test_map_loss(j):
    """y_true + log(exp(-j) + sum exp(-y)), equation 9: a cross-entropy with one more logit, -j."""
    y = np.random.default_rng(0).uniform(0, 9, (6, 10)).astype("float32")
    labels = np.array([0, 9, 3, 3, 1, 7])
    expected = y[np.arange(6), labels] + np.log(np.exp(-j) + np.exp(-y).sum(-1))
    loss = MAPLoss(j)
    assert float(loss(labels, -y)) == pytest.approx(expected.mean(), rel=1e-5)
    assert float(loss(labels[:, None], -y)) == pytest.approx(expected.mean(), rel=1e-5)
    with_rubbish = np.concatenate([-y, np.full((6, 1), -j, "float32")], 1)
    other = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, with_rubbish)
    assert float(loss(labels, -y)) == pytest.approx(float(other), rel=1e-5)
    with tf.GradientTape() as tape:
        t = tf.constant(-y)
        tape.watch(t)
        value = loss(labels, t)
    p = np.exp(with_rubbish) / np.exp(with_rubbish).sum(-1, keepdims=True)
    np.testing.assert_allclose(tape.gradient(value, t), (p[:, :10] - np.eye(10)[labels]) / 6, rtol=1e-4, atol=1e-6)
    assert MAPLoss.from_config(loss.get_config()).j == j


def test_map_loss_of_huge_penalties_is_finite():
    y = np.array([[800.0, 900.0]], "float32")
    assert float(MAPLoss(1.0)(np.array([0]), -y)) == pytest.approx(799.0, rel=1e-5)  # 800 + log(exp(-1))


@pytest.mark.parametrize("j", [0, -1, float("nan")])
def test_map_loss_needs_a_positive_j(j):
    with pytest.raises(ValueError, match="j must be greater than 0"):
        MAPLoss(j)


def test_rbf_loss():
    y = np.array([[1.0, 5.0], [2.0, 7.0]], "float32")
    assert float(RBFLoss()(np.array([1, 0]), -y)) == pytest.approx(3.5)


def test_heads_name_their_losses():
    from keras_cnns.models.lenet import RBFHead, rbf_loss

    assert isinstance(LeNet5.head.loss(), MAPLoss)
    assert isinstance(RBFHead(loss=rbf_loss).loss(), RBFLoss)
    assert isinstance(LeNet5Modern.head.loss(), keras.losses.SparseCategoricalCrossentropy)


def test_modern_counts():
    """61,706 parameters on 32x32."""
    assert measure(LeNet5Modern()).trainable_params == 61_706
    assert measure(LeNet5Modern(classes=5)).trainable_params == 61_706 - 5 * 85


def test_compiles_and_learns():
    """A few steps on ten images lower the paper's loss."""
    model = LeNet5(classifier_activation=None)
    model.compile(keras.optimizers.SGD(0.001), LeNet5.head.loss(), metrics=["accuracy"])
    x, y = images(10, 32, 32, 1), np.arange(10)
    before = model.evaluate(x, y, verbose=0)[0]
    model.fit(x, y, epochs=10, verbose=0)
    assert model.evaluate(x, y, verbose=0)[0] < before


@pytest.mark.parametrize("layer", [SubSampling2D(name="s"), SparseConv2D(C3, name="c"), RBF(codes(10), name="r")])
def test_lenet_layers_round_trip(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
