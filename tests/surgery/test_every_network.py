"""`fuse` and `endpoints` over every kind of network, and RepVGG's published deployed counts."""

import csv
from pathlib import Path

import numpy as np
import pytest
from support import KINDS, MINIATURES, images, randomise

import keras_cnns

# Typed from the RepVGG release (timm after re-parameterisation).
with open(Path(__file__).parents[1] / "goldens_deployed.csv", encoding="utf-8") as file:
    DEPLOYED = {r["name"]: (int(r["params"]), int(r["macs"])) for r in csv.DictReader(file)}

SOME = [pytest.param(n, marks=[] if n in KINDS else pytest.mark.slow) for n in MINIATURES]


@pytest.mark.parametrize("name", SOME)
def test_fused_equals_the_original(name):
    model = randomise(MINIATURES[name]())
    fused = keras_cnns.fuse(model)
    x = images(2, *model.input_shape[1:])
    want = np.asarray(model(x))
    np.testing.assert_allclose(fused(x), want, atol=1e-5 * np.abs(want).max())
    kept = [layer.name for layer in fused.layers if type(layer).__name__ == "BatchNormalization"]
    assert sorted(kept) == sorted(keras_cnns.unfoldable(model))
    assert all("preact" in k or "finish" in k or "conv" in k for k in kept)
    assert not any(type(layer).__name__ == "Dropout" for layer in fused.layers)
    assert [la.name for la in keras_cnns.fuse(fused).layers] == [la.name for la in fused.layers]
    assert list(keras_cnns.endpoints(fused)) == list(keras_cnns.endpoints(model))


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in ("repvgg_a0", "repvgg_b1g4") else pytest.mark.slow) for n in DEPLOYED],
)
def test_deployed_counts(name):
    measured = keras_cnns.measure(keras_cnns.fuse(keras_cnns.create_model(name)))
    assert (measured.trainable_params, measured.macs) == DEPLOYED[name]
