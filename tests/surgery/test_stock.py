"""`stock_layers`: the same numbers, and a file that loads where this package is not."""

import json

import keras
import numpy as np
import pytest
from support import MINIATURES, forked_script, images, randomise

import keras_cnns
from keras_cnns import layers as ours

# Those that have what stock Keras says otherwise.
OWN = ("lenet5", "alexnet", "nin", "googlenet", "resnet20", "resnext50_32x4d", "sknet26")
SOME = [pytest.param(n, marks=[] if n in OWN else pytest.mark.slow) for n in MINIATURES]

LOAD = """
import json, sys
sys.modules["keras_cnns"] = None  # so that importing it fails
import keras, numpy as np
found = {}
for name in json.loads('%s'):
    model = keras.models.load_model(f"%s/{name}.keras")
    x = np.load(f"%s/{name}.npz")
    found[name] = float(np.abs(np.asarray(model(x["x"])) - x["y"]).max())
    odd = [type(layer).__module__ for layer in model.layers if not type(layer).__module__.startswith("keras.")]
    assert not odd, (name, odd)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stock")


@pytest.mark.parametrize("name", SOME)
def test_the_same_numbers_and_nothing_of_ours(name, folder):
    model = randomise(MINIATURES[name](classes=10))
    x = images(2, *model.input_shape[1:])
    want = np.asarray(model(x))
    for source in (model, keras_cnns.fuse(model)):
        plain = keras_cnns.stock_layers(source)
        np.testing.assert_allclose(plain(x), want, atol=2e-5)
        assert not [la.name for la in plain.layers if type(la).__module__.startswith("keras_cnns")]
    plain.save(folder / f"{name}.keras")
    np.savez(folder / f"{name}.npz", x=x, y=want)


def test_the_files_load_without_this_package(folder):
    """Those that the tests before have left."""
    names = sorted(p.stem for p in folder.glob("*.keras"))
    assert names
    found = json.loads(forked_script(LOAD % (json.dumps(names), folder, folder)).splitlines()[-1])
    assert max(found.values()) < 2e-5


def test_stride_with_dilation():
    x = keras.Input((9, 11, 8))
    y = ours.Conv2D(8, 3, strides=2, dilation_rate=(2, 3), groups=4, padding="same", name="c")(x)
    model = randomise(keras.Model(x, y))
    plain = keras_cnns.stock_layers(model)
    assert plain.get_layer("c").kernel_size == (5, 7)
    seen = images(2, 9, 11, 8)
    np.testing.assert_allclose(plain(seen), model(seen), atol=1e-5)


def test_what_is_asked_for_stays():
    model = MINIATURES["alexnet"](classes=10)
    kept = keras_cnns.stock_layers(model, but=(ours.LocalResponseNormalization,))
    assert any(type(layer) is ours.LocalResponseNormalization for layer in kept.layers)


def test_an_open_size_has_no_ceil_mode():
    model = keras_cnns.NIN(input_shape=(None, None, 3))
    with pytest.raises(ValueError, match="build the model with a fixed size"):
        keras_cnns.stock_layers(model)
