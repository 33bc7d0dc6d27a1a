"""The inference form equals the original, has fewer layers, and says what it could not do."""

import logging

import keras
import numpy as np
import pytest
from keras import layers as L
from support import MINIATURES, forked_script, images, randomise

import keras_cnns
from keras_cnns.deep import deep_recursion
from keras_cnns.layers import BatchNormalization, Conv2D


def predict(model, x):
    return np.asarray(model(x, training=False), "float64")


def assert_equal_outputs(model, fused, tolerance=1e-5, side=None):
    shape = [side or 16 if s is None else s for s in model.input_shape[1:]]
    x = images(2, *shape)
    expected = predict(model, x)
    assert np.abs(predict(fused, x) - expected).max() <= tolerance * np.abs(expected).max()


def names(model):
    return [layer.name for layer in model.layers]


def kinds(model):
    return [type(layer) for layer in model.layers]


def unit(channels=8, filters=8, stride=1, groups=1, identity="norm", gate=False, side=9, conv=Conv2D):
    """A RepVGG unit: 3x3, 1x1 and the input, each with its norm, summed."""
    image = keras.Input((side, side, channels), name="image")
    x = L.ReLU(name="before")(image)
    options = {"strides": stride, "use_bias": False, "groups": groups}
    if stride > 1:
        wide = conv(filters, 3, name="wide", **options)(L.ZeroPadding2D(1, name="pad")(x))
    else:
        wide = conv(filters, 3, padding="same", name="wide", **options)(x)
    parts = [
        BatchNormalization(name="narrow_norm")(conv(filters, 1, name="narrow", **options)(x)),
        BatchNormalization(name="wide_norm")(wide),
    ]
    if identity:
        parts.append(BatchNormalization(name="identity_norm")(x) if identity == "norm" else x)
    x = L.Add(name="sum")(parts)
    if gate:
        s = L.GlobalAveragePooling2D(keepdims=True, name="gate_pool")(x)
        x = L.Multiply(name="gate")([x, L.Conv2D(filters, 1, activation="sigmoid", name="gate_conv")(s)])
    return keras.Model(image, L.ReLU(name="after")(x), name="unit")


UNITS = {
    "plain": {},
    "no identity": {"filters": 16, "identity": None},
    "bare identity": {"identity": "bare"},
    "groups": {"groups": 2},
    "stock groups": {"groups": 4, "conv": keras.layers.Conv2D},
    "stride": {"filters": 16, "stride": 2, "identity": None},
    "stride, even side, groups": {"filters": 16, "stride": 2, "identity": None, "side": 8, "groups": 4},
    "gate": {"gate": True},
    "open size": {"side": None},
    "open size, stride": {"filters": 16, "stride": 2, "identity": None, "side": None},
}


@pytest.mark.parametrize("kind", UNITS)
def test_branches_become_one_convolution(kind):
    model = randomise(unit(**UNITS[kind]))
    fused = keras_cnns.fuse(model)
    assert_equal_outputs(model, fused, side=9)
    pad = ["pad"] if "stride" in kind else []
    gate = ["gate_pool", "gate_conv", "gate"] if kind == "gate" else []
    assert names(fused) == ["image", "before", *pad, "wide", *gate, "after"]
    assert fused.get_layer("wide").kernel.shape == model.get_layer("wide").kernel.shape
    assert fused.get_layer("wide").use_bias
    assert keras_cnns.unfoldable(model) == {}


def test_in_float64_it_is_exact():
    keras.config.set_dtype_policy("float64")
    model = randomise(unit(groups=2))
    x = images(2, 9, 9, 8).astype("float64")
    expected = predict(model, x)
    assert np.abs(predict(keras_cnns.fuse(model), x) - expected).max() <= 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize(("size", "dilation"), [((5, 3), 1), ((5, 3), 2), ((3, 1), 2), ((2, 2), 1), ((4, 4), 1)])
def test_kernels_of_any_size_are_aligned(size, dilation):
    image = keras.Input((11, 10, 4))
    wide = L.Conv2D(4, size, padding="same", dilation_rate=dilation, name="wide")(image)
    model = randomise(keras.Model(image, L.Add()([L.Conv2D(4, 1, name="narrow")(image), wide, image])))
    fused = keras_cnns.fuse(model)
    assert_equal_outputs(model, fused)
    assert sum(k is L.Conv2D for k in kinds(fused)) == 1
    assert fused.get_layer("wide").kernel_size == size


def test_taps_that_do_not_meet_stay_apart():
    """Dilated 2x2 taps lie a pixel before and behind the centre, where the 1x1 looks."""
    image = keras.Input((11, 10, 4))
    wide = L.Conv2D(4, 2, padding="same", dilation_rate=2, name="wide")(image)
    model = randomise(
        keras.Model(image, L.ReLU()(L.Add(name="sum")([wide, L.Conv2D(4, 1, name="narrow")(image)])))
    )
    fused = keras_cnns.fuse(model)
    assert_equal_outputs(model, fused)
    assert len(fused.layers) == len(model.layers)


def test_a_row_and_a_column_make_a_square():
    """Asymmetric convolutions: 3x3 + 1x3 + 3x1."""
    image = keras.Input((8, 8, 3))
    parts = [L.Conv2D(5, k, padding="same", name=n)(image) for k, n in [((1, 3), "r"), ((3, 1), "c"), (3, "s")]]
    model = randomise(keras.Model(image, L.ReLU()(L.Add()(parts))))
    fused = keras_cnns.fuse(model)
    assert_equal_outputs(model, fused)
    assert sum(k is L.Conv2D for k in kinds(fused)) == 1
    only_two = randomise(keras.Model(image, L.ReLU()(L.Add()(parts[:2]))))
    fused = keras_cnns.fuse(only_two)
    assert_equal_outputs(only_two, fused)
    (conv,) = [layer for layer in fused.layers if isinstance(layer, L.Conv2D)]
    assert conv.kernel_size == (3, 3)


def test_depthwise_branches():
    image = keras.Input((8, 8, 6))
    parts = [
        BatchNormalization(name=f"n{k}")(L.DepthwiseConv2D(k, padding="same", use_bias=False, name=f"d{k}")(image))
        for k in (3, 5)
    ]
    model = randomise(keras.Model(image, L.ReLU()(L.Add()([*parts, BatchNormalization(name="n")(image)]))))
    fused = keras_cnns.fuse(model)
    assert_equal_outputs(model, fused)
    assert names(fused)[1:2] == ["d5"]
    assert kinds(fused)[1:] == [L.DepthwiseConv2D, L.ReLU]


def test_what_cannot_be_merged_stays():
    image = keras.Input((8, 8, 4))
    one = L.Conv2D(4, 3, padding="same", name="one")(image)
    dilated = L.Conv2D(4, 3, padding="same", dilation_rate=2, name="dilated")(image)
    grouped = Conv2D(4, 3, padding="same", groups=2, name="grouped")(image)
    curved = L.Conv2D(4, 1, activation="relu", name="curved")(image)
    seen = L.Conv2D(4, 1, name="seen")(image)
    model = randomise(keras.Model(image, [L.Add(name="sum")([one, dilated, grouped, curved, seen]), seen]))
    fused = keras_cnns.fuse(model)
    assert sorted(names(fused)) == sorted(names(model))
    x = images(2, 8, 8, 4)
    for a, b in zip(model(x), fused(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_sum_keeps_what_is_not_a_branch_and_merges_the_rest():
    image = keras.Input((8, 8, 4))
    far = L.ReLU(name="far")(L.Conv2D(4, 3, padding="same", name="first")(image))
    parts = [L.Conv2D(4, 3, padding="same", name="wide")(image), far, L.Conv2D(4, 1, name="narrow")(image)]
    model = randomise(keras.Model(image, BatchNormalization(name="norm")(L.Add(name="sum")(parts))))
    fused = keras_cnns.fuse(model)
    assert_equal_outputs(model, fused)
    assert sorted(names(fused)[1:]) == ["far", "first", "norm", "sum", "wide"]
    assert keras_cnns.unfoldable(model) == {"norm": "pre-activation: it reads sum (Add)"}


def test_a_norm_behind_a_merged_sum_is_folded_too():
    image = keras.Input((8, 8, 4))
    parts = [L.Conv2D(4, 3, padding="same", name="wide")(image), L.Conv2D(4, 1, name="narrow")(image)]
    model = randomise(keras.Model(image, L.ReLU(name="r")(BatchNormalization(name="norm")(L.Add()(parts)))))
    fused = keras_cnns.fuse(model)
    assert_equal_outputs(model, fused)
    assert names(fused)[1:] == ["wide", "r"]


# --- every network --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MINIATURES)
def test_every_network(name):
    """Logits: a softmax of random weights is too flat to tell."""
    model = randomise(MINIATURES[name](classifier_activation=None))
    before = [w.numpy() for w in model.weights]
    fused = keras_cnns.fuse(model)
    assert_equal_outputs(model, fused)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.weights, strict=True))
    again = keras_cnns.fuse(fused)
    assert names(again) == names(fused)
    assert_equal_outputs(fused, again, 1e-7)
    assert fused.name == model.name
    assert [t.name for t in fused.inputs] == [t.name for t in model.inputs]
    assert fused.output_names == model.output_names
    assert fused.output_shape == model.output_shape
    norms = {layer.name for layer in fused.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert norms == set(keras_cnns.unfoldable(model))


def test_residual_network_has_no_norm_and_only_stock_layers_left():
    fused = keras_cnns.fuse(MINIATURES["resnet20"]())
    assert not any("Normalization" in kind.__name__ for kind in kinds(fused))
    assert all(kind.__module__.startswith("keras.") for kind in kinds(fused))
    assert {"stem_conv", "stem_conv_relu", "stage2_unit1_shortcut", "logits"} <= set(names(fused))


APPLICATIONS = {
    "ResNet50": 0,
    "ResNet50V2": 17,
    "MobileNet": 0,
    "DenseNet121": 62,
    "VGG16": 0,
}
STOCK = [n if n == "MobileNet" else pytest.param(n, marks=pytest.mark.slow) for n in APPLICATIONS]


@pytest.mark.parametrize("name", STOCK)
def test_stock_networks(name):
    build = getattr(keras.applications, name)
    model = randomise(build(weights=None, input_shape=(64, 64, 3), classes=10, classifier_activation=None))
    fused = keras_cnns.fuse(model)
    assert_equal_outputs(model, fused)
    assert sum(kind is keras.layers.BatchNormalization for kind in kinds(fused)) == APPLICATIONS[name]


def test_a_very_deep_chain():
    image = keras.Input((4, 4, 2))
    x = BatchNormalization(name="norm")(Conv2D(2, 1, name="conv")(image))
    for i in range(1_050):
        x = L.Identity(name=f"i{i}")(x)
    with deep_recursion():
        model = keras.Model(image, x)
    assert len(keras_cnns.fuse(model).layers) == len(model.layers) - 1


# --- what it must not do --------------------------------------------------------------------------------------


def test_shared_layers_are_left_alone():
    image = keras.Input((8, 8, 3))
    conv, norm = L.Conv2D(3, 3, padding="same", name="conv"), BatchNormalization(name="norm")
    a = BatchNormalization(name="a")(conv(image))
    b = norm(L.Conv2D(3, 1, name="own")(conv(a)))
    model = randomise(keras.Model(image, L.ReLU()(norm(L.Conv2D(3, 1, name="other")(b)))))
    fused = keras_cnns.fuse(model)
    assert_equal_outputs(model, fused)
    assert sorted(names(fused)) == sorted(names(model))
    assert keras_cnns.unfoldable(model) == {
        "a": "conv (Conv2D) before it is called more than once",
        "norm": "it is called more than once",
    }


def test_reasons():
    image = keras.Input((8, 8, 3), name="image")
    first = BatchNormalization(name="first")(image)
    curved = BatchNormalization(name="curved")(L.Conv2D(3, 3, activation="relu", name="active")(first))
    seen = L.Conv2D(3, 1, name="seen")(curved)
    after = BatchNormalization(name="after")(seen)
    rows = BatchNormalization(axis=1, name="rows")(L.Conv2D(3, 1, name="free")(after))
    model = randomise(keras.Model(image, [rows, seen]))
    assert keras_cnns.unfoldable(model) == {
        "first": "pre-activation: it reads the input of the model",
        "curved": "active (Conv2D) before it has an activation of its own",
        "after": "seen (Conv2D) before it is read elsewhere too",
        "rows": "it normalises axis 1, which is not the channels of free (Conv2D)",
    }
    x = images(2, 8, 8, 3)
    for a, b in zip(model(x), keras_cnns.fuse(model)(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_log_says_what_stays(caplog):
    model = MINIATURES["wrn16_4"]()
    with caplog.at_level(logging.INFO, "keras_cnns"):
        keras_cnns.fuse(model)
    kept = len(keras_cnns.unfoldable(model))
    norms = sum(kind is BatchNormalization for kind in kinds(model))
    assert f"fuse {model.name}: {norms - kept} of {norms} batch norms folded" in caplog.text
    assert "stage1_unit2_preact_norm stays: pre-activation: it reads stage1_unit1_add (Add)" in caplog.text


def test_a_subclass_is_not_taken_for_linear():
    class Odd(L.Conv2D):
        def call(self, x):
            return keras.ops.abs(super().call(x))

    image = keras.Input((8, 8, 3))
    model = randomise(keras.Model(image, BatchNormalization(name="norm")(Odd(3, 3, name="odd")(image))))
    assert keras_cnns.unfoldable(model) == {"norm": "pre-activation: it reads odd (Odd)"}


def test_dropout_goes_unless_it_was_asked_to_stay():
    image = keras.Input((8, 8, 3))
    x = L.SpatialDropout2D(0.5, name="spatial")(L.Conv2D(4, 3, name="conv")(image))
    x = L.GaussianNoise(1.0, name="noise")(BatchNormalization(name="norm")(x))
    x = L.Dropout(0.5, name="always")(x, training=True)
    model = keras.Model(image, L.ReLU(name="out")(x))
    assert names(keras_cnns.fuse(model))[1:] == ["conv", "always", "out"]


# --- ends, nesting, files -------------------------------------------------------------------------------------


def test_inputs_and_outputs_keep_names_and_structure():
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    conv = BatchNormalization(name="norm")(L.Conv2D(4, 3, name="conv")(L.Concatenate(name="both")([left, right])))
    dense = L.Dropout(0.5, name="last")(L.Dense(2, name="dense")(L.Flatten(name="flat")(conv)))
    model = randomise(keras.Model({"left": left, "right": right}, {"features": conv, "scores": dense}))
    fused = keras_cnns.fuse(model)
    x = {"left": images(2, 8, 8, 3), "right": images(2, 8, 8, 3, seed=2)}
    for name, expected in model(x).items():
        np.testing.assert_allclose(fused(x)[name], expected, rtol=1e-5, atol=1e-5)
    assert fused.output_names == model.output_names == ["norm", "last"]
    assert names(keras_cnns.fuse(fused)) == names(fused)


def test_nested_models_are_laid_open():
    body = MINIATURES["resnet20"](include_top=False, input_shape=(16, 16, 3))
    twin = MINIATURES["resnet20"](include_top=False, input_shape=(16, 16, 3), name="twin")
    image = keras.Input((16, 16, 3))
    x = L.Add(name="sum")([body(L.Rescaling(0.5, name="half")(image), training=False), twin(image)])
    pool = L.GlobalAveragePooling2D(name="pool")
    tail = keras.Sequential([keras.Input((4, 4, 32)), pool, L.Dense(3)], name="tail")
    model = randomise(keras.Model(image, tail(x)))
    fused = keras_cnns.fuse(model)
    assert_equal_outputs(model, fused)
    assert not any(isinstance(layer, keras.Model) for layer in fused.layers)
    assert keras_cnns.unfoldable(model) == {}
    assert fused.output_names == model.output_names == ["tail"]
    assert {"stem_conv", "twin_stem_conv"} <= set(names(fused))


def test_sequential_and_dense():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            L.SeparableConv2D(4, 3, use_bias=False, name="separable"),
            BatchNormalization(name="n1", scale=False),
            L.Conv2DTranspose(3, 2, strides=2, name="transposed"),
            BatchNormalization(name="n2", center=False),
            L.Flatten(name="flat"),
            L.Dense(5, use_bias=False, name="dense"),
            BatchNormalization(name="n3", epsilon=0.1),
            L.ReLU(name="relu"),
        ]
    )
    fused = keras_cnns.fuse(randomise(model))
    assert_equal_outputs(model, fused)
    assert names(fused)[1:] == ["separable", "transposed", "flat", "dense", "relu"]


def test_no_graph():
    with pytest.raises(ValueError, match="no graph of layers"):
        keras_cnns.fuse(keras.Sequential([L.Dense(3)]))


LOAD = """
import sys, numpy as np, keras
model = keras.models.load_model({path!r})
assert not any(name.startswith("keras_cnns") for name in sys.modules)
x = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype("float32")
print(repr(np.asarray(model(x)).tolist()))
"""


def test_a_saved_fused_network_needs_keras_only(tmp_path):
    model = randomise(MINIATURES["resnet20"](classifier_activation=None))
    path = str(tmp_path / "fused.keras")
    keras_cnns.fuse(model).save(path)
    there = np.array(eval(forked_script(LOAD.format(path=path)).splitlines()[-1]))
    here = predict(model, images(2, 16, 16, 3))
    assert np.abs(there - here).max() <= 1e-5 * np.abs(here).max()


def test_a_loaded_network(tmp_path):
    model = randomise(MINIATURES["resnet20"](classifier_activation=None))
    model.save(tmp_path / "model.keras")
    assert_equal_outputs(model, keras_cnns.fuse(keras_cnns.load_model(tmp_path / "model.keras")))


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = randomise(MINIATURES["resnet20"](classifier_activation=None))
    fused = keras_cnns.fuse(model)
    assert_equal_outputs(model, fused, 0.05)
    assert fused.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert fused.output.dtype == "float32"
