"""Rows with an edit of their graph, as values: other activations, no norms."""

from dataclasses import replace

import keras
import numpy as np
from support import MINIATURES, images, randomise

from keras_cnns import measure, zoo
from keras_cnns.surgery.edited_row import AddDropout, EditedRow, SwapLayers, tanh_for_relu, without_norms

SMALL = MINIATURES["resnet20"]


def edited(edit):
    return zoo.from_json(zoo.to_json(replace(SMALL, row=EditedRow(SMALL.row, edit))))()


def test_an_edit_that_does_nothing_leaves_the_network():
    model = edited(SwapLayers(keep))
    assert [layer.name for layer in model.layers] == [layer.name for layer in SMALL().layers]
    randomise(model)
    twin = SMALL()
    twin.set_weights(model.get_weights())
    x = images(2, 16, 16, 3)
    np.testing.assert_array_equal(model(x), twin(x))


def keep(layer):
    return layer


zoo.PARTS["keep"] = keep


def test_tanh_for_relu():
    names = [
        la.activation.__name__ for la in edited(SwapLayers(tanh_for_relu)).layers if hasattr(la, "activation")
    ]
    assert "relu" not in names
    assert names.count("tanh") == 9


def test_without_norms_convolutions_have_biases():
    model = edited(without_norms)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert all(layer.use_bias for layer in convolutions)
    assert measure(model).macs == measure(SMALL()).macs


def test_dropout_stands_behind_every_relu():
    model = edited(AddDropout(0.25))
    drops = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [d.rate for d in drops] == [0.25] * 9
    twin = SMALL()
    twin.set_weights(model.get_weights())
    x = images(2, 16, 16, 3)
    np.testing.assert_array_equal(model(x), twin(x))
    assert np.abs(model(x, training=True) - twin(x, training=True)).max() > 1e-3


def test_weights_start_afresh_each_time():
    first, second = (edited(without_norms).get_layer("stem_conv").kernel for _ in range(2))
    assert np.abs(first - second).max() > 0.01
    assert 0.5 < np.std(first) / np.sqrt(2 / (9 * 8)) < 1.5, "by the row's own rule"


def test_old_names_in_json_are_read():
    architecture = replace(SMALL, row=EditedRow(EditedRow(SMALL.row, SwapLayers(tanh_for_relu)), AddDropout(0.25)))
    text = zoo.to_json(architecture)
    old = text
    for new, former in (("EditedRow", "Operated"), ("SwapLayers", "Exchange"), ("AddDropout", "Dropped")):
        assert f'"type": "{new}"' in text
        old = old.replace(f'"type": "{new}"', f'"type": "{former}"')
    assert zoo.from_json(old) == architecture
