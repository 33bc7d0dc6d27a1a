"""Counts by hand, by the papers and by arithmetic."""

import keras
import pytest
from keras import layers

from keras_cnns import WRN40_1, ResNet20, ResNet50, ResNet50V1, measure


def net(*parts, shape=(32, 32, 3)):
    return keras.Sequential([keras.Input(shape), *parts])


def test_one_convolution():
    m = measure(net(layers.Conv2D(8, 5, strides=2, padding="valid", name="c")))
    assert m.macs == 14 * 14 * 5 * 5 * 3 * 8
    assert m.connections == m.macs + 14 * 14 * 8
    assert m.trainable_params == m.params == 5 * 5 * 3 * 8 + 8
    assert m.neurons == 14 * 14 * 8
    assert (m.depth, m.receptive_field) == (1, 5)
    row = m.layers[0]
    assert (row.name, row.kind, row.output_shape, row.stride) == ("c", "Conv2D", (14, 14, 8), 2)


def test_groups_and_depthwise():
    grouped = measure(net(layers.Conv2D(8, 3, groups=4, use_bias=False), shape=(8, 8, 16)))
    assert grouped.macs == 6 * 6 * 9 * 4 * 8
    depthwise = measure(net(layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False), shape=(8, 8, 16)))
    assert depthwise.macs == 6 * 6 * 9 * 32


def test_dense_and_normalisation():
    m = measure(net(layers.BatchNormalization(), layers.Flatten(), layers.Dense(10), shape=(4, 4, 2)))
    assert m.macs == 320
    assert m.connections == 330
    assert m.trainable_params == 320 + 10 + 4
    assert m.params == m.trainable_params + 4
    assert (m.depth, m.neurons) == (1, 10)


def test_resnet_50_by_version():
    """3.858 G as published, 4.089 G as the field trains it: the 3x3 at four times the size in three units."""
    v1, v15 = measure(ResNet50V1()), measure(ResNet50())
    assert round(v1.macs / 1e9, 3) == 3.858
    assert round(v15.macs / 1e9, 3) == 4.089
    # The first 1x1 of stages 2 to 4 runs at full size: 3/4 more of 56*56 cells, widths 128, 256, 512.
    assert v15.macs - v1.macs == sum(
        3 * s * s * cin * w for s, cin, w in ((28, 256, 128), (14, 512, 256), (7, 1024, 512))
    )
    assert (v1.depth, v15.depth) == (50, 50)
    # torchvision's ResNet-50 sees 427 pixels; strides on the 1x1 make the 3x3 of that unit see twice as far: 483.
    assert (v15.receptive_field, v1.receptive_field) == (427, 483)


def field(*parts):
    return measure(net(*parts, shape=(64, 64, 1))).receptive_field


def conv(kernel, stride=1, dilation=1):
    return layers.Conv2D(1, kernel, strides=stride, dilation_rate=dilation)


def test_receptive_field():
    assert field(conv(3), conv(3), conv(3)) == field(conv(7)) == 7
    assert field(conv(3, 2), conv(3)) == 3 + 2 * 2
    assert field(conv(3, dilation=2)) == field(conv(5)) == 5
    assert field(layers.MaxPooling2D(2), conv(3)) == 2 + 2 * 2
    assert field(conv(1), layers.BatchNormalization(), layers.ReLU()) == 1
    assert field(conv(3), layers.GlobalAveragePooling2D(), layers.Dense(3)) == 3
    # By hand: 1 + 2 (stem) + 12 (stage 1) + 2 + 5*4 (stage 2, stride 2) + 4 + 5*8 (stage 3, stride 4).
    assert measure(ResNet20()).receptive_field == 81


def test_branches_take_the_widest_and_the_longest():
    x = keras.Input((32, 32, 4))
    short = layers.Conv2D(4, 1)(x)
    long = layers.Conv2D(4, 3, padding="same")(layers.Conv2D(4, 3, padding="same")(x))
    m = measure(keras.Model(x, layers.Add()([short, long])))
    assert (m.depth, m.receptive_field) == (2, 5)


def test_a_gate_adds_neither_depth_nor_view():
    x = keras.Input((32, 32, 4))
    y = layers.Conv2D(4, 3, padding="same")(x)
    gate = layers.Dense(4)(layers.Dense(2)(layers.GlobalAveragePooling2D(keepdims=True)(y)))
    m = measure(keras.Model(x, layers.Multiply()([y, gate])))
    assert (m.depth, m.receptive_field) == (1, 3)
    assert m.macs == 32 * 32 * 9 * 16 + 8 + 8


def test_shared_and_nested():
    """A shared layer works twice and is stored once; a nested model counts as its layers."""
    layer = layers.Conv2D(3, 3, padding="same", use_bias=False)
    x = keras.Input((8, 8, 3))
    twice = keras.Model(x, layer(layer(x)))
    once = 8 * 8 * 9 * 9
    m = measure(twice)
    assert (m.macs, m.trainable_params, m.depth, m.receptive_field) == (2 * once, 81, 2, 5)
    y = keras.Input((8, 8, 3))
    outer = measure(keras.Model(y, twice(layer(y))))
    assert (outer.macs, outer.trainable_params, outer.depth, outer.receptive_field) == (3 * once, 81, 3, 7)


def test_sequential_and_functional_agree():
    parts = [layers.Conv2D(4, 3), layers.ReLU(), layers.Flatten(), layers.Dense(2)]
    sequential = net(*parts)
    x = y = keras.Input((32, 32, 3))
    for part in parts:
        y = part(y)
    a, b = measure(sequential), measure(keras.Model(x, y))
    assert (a.macs, a.params, a.depth) == (b.macs, b.params, b.depth)


def test_open_size():
    model = WRN40_1(include_top=False)
    with pytest.raises(ValueError, match="give input_shape="):
        measure(model)
    closed = measure(WRN40_1(include_top=False, input_shape=(32, 32, 3)))
    assert measure(model, input_shape=(32, 32, 3)).macs == closed.macs
    assert measure(model, (64, 64, 3)).macs == 4 * closed.macs
    with pytest.raises(ValueError, match="give input_shape="):
        measure(model, (None, 32, 3))
    for wrong in ((32, 32, 1), (32, 32)):
        with pytest.raises(ValueError, match="must fit"):
            measure(model, wrong)
    with pytest.raises(ValueError, match="must fit"):
        measure(ResNet20(), (64, 64, 3))


class Unknown(layers.Layer):
    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1],), name="w")

    def call(self, x):
        return x * self.w


class Counted(Unknown):
    def macs(self, input_shape):
        return 7

    def connections(self, input_shape):
        return 9


def test_a_layer_without_a_rule_is_refused():
    with pytest.raises(ValueError, match=r"'odd' \(Unknown\) has 3 weights and no rule"):
        measure(net(Unknown(name="odd")))
    assert (measure(net(Counted())).macs, measure(net(Counted())).connections) == (7, 9)


def test_no_graph():
    with pytest.raises(ValueError, match="no graph"):
        measure(keras.Sequential([layers.Dense(3)]))


def test_printed_table():
    m = measure(ResNet20())
    lines = str(m).splitlines()
    assert lines[0].split() == [
        "layer",
        "kind",
        "output",
        "parameters",
        "MACs",
        "neurons",
        "connections",
        "field",
        "stride",
    ]
    assert len(lines) == len(m.layers) + 5
    stem = next(line for line in lines if line.startswith("stem_conv "))
    assert stem.split() == ["stem_conv", "Conv2D", "32x32x16", "432", "442,368", "16,384", "442,368", "3", "1"]
    assert "depth 20" in lines[-2]
    assert "40,551,040" in lines[-2]
    assert lines[-1] == "269,722 of the parameters are trainable"
    assert sum(r.params for r in m.layers) == m.params
