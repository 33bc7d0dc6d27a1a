"""The one reader of Keras' private history. If these fail after an upgrade, keras_cnns/graph.py must move."""

import keras
import pytest

from keras_cnns import graph


def test_keras_still_keeps_its_history():
    x = keras.Input((4,))
    layer = keras.layers.Dense(3)
    y = layer(x)
    operation, index, place = y._keras_history
    assert operation is layer
    assert (index, place) == (0, 0)
    node = operation._inbound_nodes[index]
    assert node.input_tensors[0] is x
    assert node.output_tensors[0] is y


def test_trace_is_in_order_of_computation():
    x = keras.Input((4,), name="x")
    a = keras.layers.Dense(4, name="a")(x)
    b = keras.layers.Dense(4, name="b")(a)
    c = keras.layers.Add(name="c")([a, b])
    nodes, tensors = graph.trace(keras.Model(x, c))
    assert [n.layer.name for n in nodes] == ["a", "b", "c"]
    assert tensors[0] is x
    assert nodes[0].inputs == (0,)
    assert nodes[2].inputs == (nodes[0].outputs[0], nodes[1].outputs[0])


def test_arguments_have_places_for_tensors():
    x = keras.Input((4,))
    a = keras.layers.Dropout(0.5, name="a")(x, training=True)
    y = keras.layers.Concatenate(name="b")([x, a])
    nodes, _ = graph.trace(keras.Model(x, y))
    assert [n.args for n in nodes] == [(graph.TensorRef(0),), ([graph.TensorRef(0), graph.TensorRef(1)],)]
    assert nodes[0].kwargs["training"] is True
    assert graph.producer(a).name == "a"


def test_a_shared_layer_appears_once_a_call():
    layer = keras.layers.Dense(4, name="twice")
    x = keras.Input((4,))
    nodes, _ = graph.trace(keras.Model(x, layer(layer(x))))
    assert [n.layer.name for n in nodes] == ["twice", "twice"]
    assert nodes[0].outputs == nodes[1].inputs


def test_calls_outside_the_model_are_left_out():
    x = keras.Input((4,))
    layer = keras.layers.Dense(4, name="used")
    layer(keras.Input((4,)))
    y = layer(x)
    keras.layers.Dense(2, name="unused")(y)
    nodes, _ = graph.trace(keras.Model(x, y))
    assert [n.layer.name for n in nodes] == ["used"]


def test_a_model_in_the_middle_starts_at_its_own_input():
    x = keras.Input((4,))
    middle = keras.layers.Dense(4, name="first")(x)
    y = keras.layers.Dense(4, name="second")(middle)
    nodes, _ = graph.trace(keras.Model(middle, y))
    assert [n.layer.name for n in nodes] == ["second"]


def test_several_outputs():
    class Halves(keras.layers.Layer):
        def call(self, x):
            return x[:, :2], x[:, 2:]

    x = keras.Input((4,))
    left, right = Halves(name="halves")(x)
    nodes, tensors = graph.trace(keras.Model(x, [right, left]))
    assert len(nodes) == 1
    assert [tensors[i] is t for i, t in zip(nodes[0].outputs, (left, right), strict=True)] == [True, True]


def test_sequential():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d"), keras.layers.ReLU(name="r")])
    assert [n.layer.name for n in graph.trace(model)[0]] == ["d", "r"]


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize("model", [Subclassed(), keras.Sequential([keras.layers.Dense(3)])], ids=lambda m: m.name)
def test_no_graph(model):
    with pytest.raises(ValueError, match="no graph of layers"):
        graph.trace(model)
