"""Weights saved and loaded, very deep chains, precision, and a user's own training script."""

import re
import sys
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
from support import MINIATURES, forked_script, images, randomise

from keras_cnns import ResNeSt269, ResNet20, ResNet1001V2, ResNet1202, load_model
from keras_cnns.deep import deep_recursion

FORMS = ["lenet5", "lenet5_modern", "alexnet", "nin", "vgg11", "googlenet", "resnet20", "resnet50", "wrn16_4"]
FORMS += ["seresnet20", "repvgg_b1g2"]
FORMS += [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("resnet50_v2", "resnext50_32x4d", "sknet26", "resnest50_4s2x40d")
]


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
@pytest.mark.parametrize("name", FORMS)
def test_weights_round_trip(name, ending, tmp_path):
    a = MINIATURES[name]
    model = randomise(a())
    path = tmp_path / f"net{ending}"
    model.save_weights(path) if ending == ".weights.h5" else model.save(path)
    x = images(2, *a.input_shape)
    for weights in (path, str(path)):
        np.testing.assert_array_equal(a(weights=weights)(x), model(x))
    assert not np.allclose(a()(x), model(x))


def test_features_load_without_their_classifier(tmp_path):
    a = MINIATURES["resnet20"]
    model = randomise(a(include_top=False))
    model.save_weights(tmp_path / "body.weights.h5")
    x = images(2, 16, 16, 3)
    np.testing.assert_array_equal(a(include_top=False, weights=tmp_path / "body.weights.h5")(x), model(x))


def test_files_that_do_not_fit(tmp_path):
    a, other = MINIATURES["resnet20"], MINIATURES["wrn16_4"]
    model = a()
    model.save_weights(tmp_path / "net.weights.h5")
    model.save(tmp_path / "net.keras")
    (tmp_path / "text.weights.h5").write_text("no weights")
    (tmp_path / "text.keras").write_text("no weights")
    content = (tmp_path / "net.keras").read_bytes()
    (tmp_path / "half.keras").write_bytes(content[: len(content) // 2])
    content = (tmp_path / "net.weights.h5").read_bytes()
    (tmp_path / "half.weights.h5").write_bytes(content[: len(content) // 2])
    with h5py.File(tmp_path / "empty.weights.h5", "w") as empty:
        empty.create_group("layers")
    with h5py.File(tmp_path / "bare.weights.h5", "w"):
        pass
    (tmp_path / "folder.keras").mkdir()
    for build, file, fault in [
        (other, "net.weights.h5", "does not fit"),
        (other, "net.keras", "does not fit"),
        (a, "text.weights.h5", "cannot be read"),
        (a, "empty.weights.h5", "does not fit"),
        (a, "bare.weights.h5", "does not fit"),
        (a, "text.keras", "cannot be read"),
        (a, "half.keras", "cannot be read"),
        (a, "half.weights.h5", "cannot be read"),
    ]:
        with pytest.raises(ValueError, match=re.escape(f"{tmp_path / file} {fault}")):
            build(weights=tmp_path / file)
    with pytest.raises(ValueError, match="no weights file"):
        a(weights=tmp_path / "folder.keras")
    with pytest.raises(ValueError, match="no model file"):
        load_model(tmp_path / "none.keras")
    for name in ("text.keras", "half.keras"):
        with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))):
            load_model(tmp_path / name)


def test_recursion_limit_is_restored():
    before = sys.getrecursionlimit()
    with deep_recursion():
        assert sys.getrecursionlimit() >= 40_000
    assert sys.getrecursionlimit() == before
    with pytest.raises(KeyError), deep_recursion():
        raise KeyError
    assert sys.getrecursionlimit() == before
    sys.setrecursionlimit(50_000)
    try:
        with deep_recursion():
            assert sys.getrecursionlimit() == 50_000, "never lowered"
    finally:
        sys.setrecursionlimit(before)


def deep_round_trip(a, tmp_path, at_least: int):
    limit = sys.getrecursionlimit()
    model = a()
    assert len(model.layers) > at_least
    model.save(tmp_path / "deep.keras")
    again = load_model(tmp_path / "deep.keras")
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    loaded = a(weights=tmp_path / "deep.keras")
    np.testing.assert_array_equal(loaded.get_weights()[-2], model.get_weights()[-2])
    assert sys.getrecursionlimit() == limit


def test_deep_chain(tmp_path):
    """More layers in a row than Python's limit of frames lets Keras visit; a low one, as layers take long.

    No residual network: Keras reaches the stem of one by its shortcuts, in two frames a unit.
    """
    vgg = MINIATURES["vgg11"]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        deep_round_trip(replace(vgg, row=replace(vgg.row, layers=(2,) * 180)), tmp_path, 300)
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.slow
@pytest.mark.parametrize(("a", "layers"), [(ResNet1202, 4_000), (ResNet1001V2, 3_000), (ResNeSt269, 2_500)])
def test_the_deepest(a, layers, tmp_path):
    deep_round_trip(a, tmp_path, layers)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(name, policy):
    """float32 weights and outputs, half-precision bodies, numbers near those of float32."""
    a = MINIATURES[name]
    exact = randomise(a(classifier_activation=None))
    keras.config.set_dtype_policy(policy)
    model = a(classifier_activation=None)
    model.set_weights(exact.get_weights())
    x = images(2, *a.input_shape)
    assert {w.dtype for w in model.weights} == {"float32"}
    logits = model(x)
    assert logits.dtype == "float32"
    assert a()(x).dtype == "float32"
    assert a(include_top=False)(x).dtype == policy.removeprefix("mixed_")
    scale = np.abs(exact(x)).max()
    np.testing.assert_allclose(logits, exact(x), atol=0.1 * scale)


SCRIPT = """
import numpy as np, tensorflow as tf
import keras, keras_cnns
strategy = tf.distribute.MirroredStrategy(["CPU:0"])
with strategy.scope():
    model = keras_cnns.ResNet20(input_shape=(8, 8, 3), classes=3)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
x = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")
before = model.get_weights()
history = model.fit(x, np.arange(8) % 3, batch_size=4, epochs=1, verbose=0).history
after = model.get_weights()
print("finite", bool(np.isfinite(history["loss"][0])))
print("moved", sum(bool(np.any(a != b)) for a, b in zip(before, after)), "of", len(before))
print("trains", type(model).__name__, np.asarray(model.predict(x, verbose=0)).shape)
"""


def test_a_plain_user_script_trains():
    lines = forked_script(SCRIPT).splitlines()
    weights = len(ResNet20().weights)
    assert "finite True" in lines
    assert f"moved {weights} of {weights}" in lines
    assert "trains Functional (8, 3)" in lines
