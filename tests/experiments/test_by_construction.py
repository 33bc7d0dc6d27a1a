"""A deeper network built from a shallower one computes the same."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from support import MINIATURES, images, randomise

from keras_cnns.blocks import no_shortcut
from training.experiments.by_construction import deepened

RESNET = MINIATURES["resnet20"]
PLAIN = replace(RESNET, row=RESNET.row.with_unit(shortcut=no_shortcut))


def logits(model, x, training=False):
    return np.asarray(keras.Model(model.input, model.get_layer("logits").output)(x, training=training))


def trained_like(model, batch):
    """The network with norms that know the statistics of the batch, as after training."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(batch, training=True)
    return model


@pytest.mark.parametrize("architecture", [RESNET, PLAIN], ids=["residual", "plain"])
def test_the_built_network_computes_the_same(architecture):
    x, batch = images(4, 16, 16, 3), images(64, 16, 16, 3, seed=2)
    shallow = trained_like(randomise(architecture()), batch)
    deep = replace(architecture, row=replace(architecture.row, depths=(4, 3, 2)))
    before = logits(shallow, x)
    built = deepened(shallow, deep(), batch)
    assert len(built.layers) > len(shallow.layers)
    np.testing.assert_allclose(logits(built, x), before, rtol=1e-3, atol=1e-4 * np.abs(before).max())
    np.testing.assert_array_equal(logits(shallow, x), before)
    # In training mode, too, on the images whose statistics were taken: their own are the norms'.
    trained, wanted = (logits(m, batch, training=True) for m in (built, shallow))
    assert np.abs(trained - wanted).max() < 0.05 * np.abs(wanted).max()
    changed = logits(deep(), x)
    assert np.abs(changed - before).max() > 0.1 * np.abs(before).max(), "without it another network"
