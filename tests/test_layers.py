"""BatchNormalization and Conv2D against stock Keras and against numpy; files, exports, graphs."""

import itertools
import json
import warnings
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import MINIATURES, forked_script, images, randomise

from keras_cnns.blocks import (
    Conv3x3,
    EarlyConcatenation,
    NormAfterAddition,
    ReluBeforeAddition,
    ReluPreActivation,
    SeparateBranches,
    Staged,
    Stem3x3,
)
from keras_cnns.layers import (
    BatchNormalization,
    CeilMaxPooling2D,
    Conv2D,
    Cropping2D,
    LocalResponseNormalization,
    PadChannels,
)
from keras_cnns.models.alexnet import AlexNetTowers

Stock = keras.layers.BatchNormalization
StockConv = keras.layers.Conv2D


def gradients(layer, x, training=None):
    """Output, gradient to the input, gradients to the trainable weights, of a fixed random projection."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x) if training is None else layer(x, training=training)
        loss = tf.reduce_sum(tf.cast(y, "float32") * images(*y.shape, seed=9))
    got = tape.gradient(loss, [x, *(w.value for w in layer.trainable_weights)])
    return [np.array(tf.cast(t, "float32")) for t in (y, *got)]


def same(ours, theirs, rtol=1e-4, atol=1e-4):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def pair(x, **options):
    """Our batch norm and the stock one with equal, random weights."""
    made = [kind(momentum=0.9, epsilon=1e-5, name="n", **options) for kind in (BatchNormalization, Stock)]
    for layer in made:
        layer.build(x.shape)
        randomise(layer, seed=3)
    return made


# --- batch normalisation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "center"), [*itertools.product((True, False), repeat=2)])
@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (8, 3), (4, 6, 3)])
def test_batch_norm_is_the_stock_one(shape, scale, center):
    """Three training steps: outputs, gradients and moving statistics; then inference, then frozen."""
    x = 3 * images(*shape) + 2
    ours, stock = pair(x, scale=scale, center=center)
    for step in range(3):
        same(gradients(ours, x + step, True), gradients(stock, x + step, True))
    same(ours.get_weights(), stock.get_weights(), rtol=1e-5, atol=1e-6)
    same(gradients(ours, x, False), gradients(stock, x, False))
    before = ours.get_weights()
    ours.trainable = stock.trainable = False
    frozen = gradients(ours, x, True)
    same(frozen, gradients(stock, x, True))
    assert np.any(frozen[1]), "the gradient passes through a frozen layer"
    same(ours.get_weights(), before, rtol=0, atol=0)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float64"])
def test_batch_norm_in_other_precisions(policy):
    dtype = policy.removeprefix("mixed_")
    x = images(4, 5, 6, 3).astype("float32")
    ours, stock = pair(x, dtype=policy)
    x = np.array(keras.ops.cast(x, dtype)) if dtype == "float64" else keras.ops.cast(x, dtype)
    near = {"float64": 1e-6, "float16": 5e-3, "bfloat16": 5e-2}[dtype]
    for training in (True, False):
        a, b = ours(x, training=training), stock(x, training=training)
        assert a.dtype == b.dtype
        same([keras.ops.cast(a, "float32")], [keras.ops.cast(b, "float32")], near, near)
    for w, v in zip(ours.weights, stock.weights, strict=True):
        assert w.dtype == v.dtype
        same([keras.ops.cast(w, "float32")], [keras.ops.cast(v, "float32")], near, near)


def test_one_step_of_the_moving_statistics():
    """From the defaults, momentum 0.9: 0.1 of the batch mean; 0.9 + 0.1 of the (biased) batch variance."""
    x = 2 * images(4, 3, 3, 2) + 1
    layer = BatchNormalization(momentum=0.9)
    layer(x, training=True)
    np.testing.assert_allclose(layer.moving_mean, 0.1 * x.mean((0, 1, 2)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-5)


def test_batch_norm_of_one_value():
    x = images(1, 1, 1, 3)
    ours, stock = pair(x)
    same([ours(x, training=True)], [stock(x, training=True)])
    same(ours.get_weights(), stock.get_weights())


def test_batch_norm_compiles():
    x = images(4, 5, 6, 3)
    ours, stock = pair(x)
    for layer in (ours, stock):
        layer.step = tf.function(lambda x, layer=layer: _traced(layer, x), jit_compile=True)
    same(ours.step(tf.constant(x)), stock.step(tf.constant(x)))
    same(ours.get_weights(), stock.get_weights())


def _traced(layer, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, training=True) * images(*x.shape, seed=9))
    return tape.gradient(loss, [x, *(w.value for w in layer.trainable_weights)])


@pytest.mark.parametrize(
    "layer",
    [
        BatchNormalization(momentum=0.8, epsilon=1e-4, scale=False, name="n"),
        Conv2D(8, (3, 5), strides=(2, 1), groups=2, dilation_rate=2, padding="same", use_bias=False, name="c"),
        Conv2D(8, 3, 2, "same", name="positional"),
        PadChannels(8, name="p"),
        LocalResponseNormalization(3, 1.5, 1e-3, 0.5, name="l"),
        CeilMaxPooling2D(3, 2, name="m"),
    ],
    ids=lambda layer: layer.name,
)
def test_layer_config_round_trip(layer):
    config = layer.get_config()
    again = type(layer).from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    rebuilt = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(rebuilt) is type(layer)


TWO_REPLICAS = """
import numpy as np, tensorflow as tf, os, tempfile
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from keras_cnns.layers import BatchNormalization
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    x = keras.Input((2, 2, 1))
    layer = BatchNormalization(momentum=0.0, name="norm")
    model = keras.Model(x, layer(x))
    @tf.function
    def step():
        def one():
            replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
            model(tf.ones((3, 2, 2, 1)) * 10.0 * replica, training=True)
            return layer.moving_mean.value + 0.0
        return strategy.run(one)
    local = strategy.experimental_local_results(step())
print("local", [float(v[0]) for v in local])
print("read", float(layer.moving_mean.numpy()[0]))
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "m.weights.h5")
    model.save_weights(path)
    again = keras.Sequential([keras.Input((2, 2, 1)), BatchNormalization(name="norm")])
    model.load_weights(path)
    import h5py
    def show(name, data):
        if hasattr(data, "shape") and data.shape == (1,): print("file", float(data[0]))
    h5py.File(path).visititems(show)
"""


def test_moving_statistics_are_averaged_over_replicas():
    """Each replica keeps its own; what is read and saved is the mean."""
    lines = forked_script(TWO_REPLICAS).splitlines()
    assert "local [0.0, 10.0]" in lines
    assert "read 5.0" in lines
    assert "file 5.0" in lines


# --- convolution ------------------------------------------------------------------------------------------------


def naive(x, kernel, stride, dilation=1):
    """Valid convolution, one sum a cell."""
    k = dilation * (kernel.shape[0] - 1) + 1
    rows = range(0, x.shape[1] - k + 1, stride)
    columns = range(0, x.shape[2] - k + 1, stride)
    cells = [
        [np.tensordot(x[:, i : i + k : dilation, j : j + k : dilation], kernel, 3) for j in columns] for i in rows
    ]
    return np.stack([np.stack(row, 1) for row in cells], 1)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_groups_are_a_block_diagonal_kernel(padding):
    x, groups = images(2, 7, 6, 8), 4
    layer = Conv2D(12, 3, padding=padding, groups=groups, use_bias=False)
    layer.build(x.shape)
    kernel = layer.kernel.numpy()
    assert kernel.shape == (3, 3, 2, 12)
    dense = np.zeros((3, 3, 8, 12), "float32")
    for g in range(groups):
        dense[:, :, 2 * g : 2 * g + 2, 3 * g : 3 * g + 3] = kernel[..., 3 * g : 3 * g + 3]
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]) if padding == "same" else x
    np.testing.assert_allclose(layer(x), naive(padded, dense, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"groups": 2, "strides": 2},
        {"groups": 4, "padding": "same"},
        {"strides": 2, "padding": "same"},
        {"kernel_size": 1, "strides": 2},
        {"kernel_size": 1, "strides": 2, "padding": "same"},
        {"kernel_size": 1, "strides": (2, 3)},
        {"dilation_rate": 2, "padding": "same"},
        {"strides": (2, 1)},
    ],
    ids=str,
)
def test_convolution_is_the_stock_one(options):
    x = images(2, 7, 8, 4)
    options = {"filters": 4, "kernel_size": 3, **options}
    ours, stock = Conv2D(**options), StockConv(**options)
    for layer in (ours, stock):
        layer.build(x.shape)
    assert [w.shape for w in ours.weights] == [w.shape for w in stock.weights]
    ours.set_weights([images(*w.shape, seed=5) for w in stock.weights])
    stock.set_weights(ours.get_weights())
    assert ours.compute_output_shape(x.shape) == stock.compute_output_shape(x.shape) == ours(x).shape
    same(gradients(ours, x), gradients(stock, x))


@pytest.mark.parametrize("groups", [1, 4])
def test_stride_with_dilation(groups):
    """A 3x3 of dilation 2 is a 5x5 with zeros between; stock Keras refuses the stride."""
    x = images(2, 9, 9, 8)
    layer = Conv2D(8, 3, strides=2, dilation_rate=2, groups=groups, use_bias=False)
    layer.build(x.shape)
    stuffed = np.zeros((5, 5, 8 // groups, 8), "float32")
    stuffed[::2, ::2] = layer.kernel.numpy()
    wide = Conv2D(8, 5, strides=2, groups=groups, use_bias=False)
    wide.build(x.shape)
    wide.kernel.assign(stuffed)
    assert layer.compute_output_shape(x.shape) == (2, 3, 3, 8)
    np.testing.assert_allclose(layer(x), wide(x), rtol=1e-4, atol=1e-5)
    if groups == 1:
        np.testing.assert_allclose(layer(x), naive(x, layer.kernel.numpy(), 2, 2), rtol=1e-4, atol=1e-5)
    same(gradients(layer, x)[1:2], gradients(wide, x)[1:2])


@pytest.mark.parametrize("strides", [0, -1, (1, 2, 3), "2", 1.5, (1, 0)])
def test_bad_strides(strides):
    with pytest.raises(ValueError, match="strides"):
        Conv2D(4, 3, strides=strides)


# --- files ------------------------------------------------------------------------------------------------------


def small_net(conv, norm):
    x = keras.Input((8, 8, 4), name="image")
    y = conv(8, 3, padding="same", groups=2, use_bias=False, name="one")(x)
    y = keras.layers.ReLU(name="relu")(norm(epsilon=1e-5, name="one_norm")(y))
    y = keras.layers.GlobalAveragePooling2D(name="pool")(conv(6, 1, name="two")(y))
    return keras.Model(x, keras.layers.Dense(3, name="top")(y), name="net")


@pytest.mark.parametrize(("into", "out_of"), [("ours", "stock"), ("stock", "ours")])
def test_stock_files_load(tmp_path, into, out_of):
    kinds = {"ours": (Conv2D, BatchNormalization), "stock": (StockConv, Stock)}
    source, target = randomise(small_net(*kinds[out_of]), 1), randomise(small_net(*kinds[into]), 2)
    source.save_weights(tmp_path / "net.weights.h5")
    x = images(2, 8, 8, 4)
    assert not np.allclose(source(x), target(x))
    target.load_weights(tmp_path / "net.weights.h5")
    np.testing.assert_allclose(source(x), target(x), rtol=1e-5, atol=1e-6)


def grouped():
    a = MINIATURES["resnet50"]
    return a.with_unit(spatial=Conv3x3(groups=4))


def orders_and_branches():
    """The units that no network of the zoo has, one a stage."""
    row = Staged((1,) * 5, unit_of_stage, (8,) * 5, Stem3x3(8), strides=(1, 2, 1, 2, 1))
    return replace(MINIATURES["resnet20"], row=row)


def unit_of_stage(stage: int, index: int):
    units = (
        NormAfterAddition(),
        ReluBeforeAddition(),
        ReluPreActivation(),
        SeparateBranches(2),
        EarlyConcatenation(2),
    )
    return units[stage - 1]


SLOW_FORMS = (
    "lenet5_modern",
    "plain20",
    "resnet50",
    "resnet50_v2",
    "seresnet20",
    "wrn16_4",
    "sknet26",
    "resnest50_4s2x40d",
    "alexnet_owt",
    "nin_cifar",
    "vgg11_lrn",
    "vgg16_c",
    "vgg11_bn",
    "vgg11_cifar",
    "googlenet_tv",
)
FORMS = {
    **{
        name: MINIATURES[name]
        for name in (
            *("lenet5", "lenet5_modern", "resnet20", "resnet50", "plain20", "wrn16_4"),
            *("resnet50_v2", "seresnet20", "sknet26", "resnest50_4s2x40d", "repvgg_b1g2"),
        )
    },
    "grouped": grouped(),
    **{name: MINIATURES[name] for name in ("alexnet", "nin", "googlenet")},
    **{name: MINIATURES[name] for name in SLOW_FORMS},
    "towers": replace(MINIATURES["alexnet"], row=AlexNetTowers(MINIATURES["alexnet"].row.widths)),
    "orders_and_branches": orders_and_branches(),
}
FORMS_BY_SPEED = [pytest.param(n, marks=pytest.mark.slow if n in SLOW_FORMS else []) for n in FORMS]


@pytest.mark.parametrize("name", FORMS_BY_SPEED)
def test_every_form_survives_every_file(name, tmp_path):
    """`.keras`, SavedModel and TFLite with built-in operations only give the same numbers as the model."""
    a = FORMS[name]
    model = randomise(a(classes=10))
    x = images(3, *a.input_shape)
    expected = np.array(model(x))
    difference = 0.05 * np.std(expected, axis=0).max()  # a twentieth of what the images make

    model.save(tmp_path / "net.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "net.keras")(x), expected, atol=1e-6)

    model.export(tmp_path / "saved", verbose=False)
    served = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(served.serve(x), expected, atol=min(1e-5, difference))

    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    content = converter.convert()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf.lite.Interpreter is moving to another package
        interpreter = tf.lite.Interpreter(model_content=content)
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, x)
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(got, expected, atol=min(1e-4, difference))


def operations(graph) -> list[str]:
    nodes = [*graph.as_graph_def().node]
    for function in graph.as_graph_def().library.function:
        nodes += function.node_def
    return [n.op for n in nodes]


def test_training_runs_the_fast_kernels():
    """One fused batch norm forward and backward a layer, no XLA around the grouped convolution."""
    model = grouped()()
    norms = sum(isinstance(layer, BatchNormalization) for layer in model.layers)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x, training=True))
        return tape.gradient(loss, [w.value for w in model.trainable_weights])

    graph = step.get_concrete_function(tf.TensorSpec((2, 64, 64, 3))).graph
    ops = operations(graph)
    assert ops.count("FusedBatchNormV3") == ops.count("FusedBatchNormGradV3") == norms
    definition = graph.as_graph_def()
    compiled = [n for n in definition.node if n.attr["_XlaMustCompile"].b]
    compiled += [f for f in definition.library.function if f.attr["_XlaMustCompile"].b]
    assert not compiled


def test_thin_strided_1x1_stays_clear_of_the_onednn_fault():
    """oneDNN's gradient corrupts the heap there (a crash, not an error), so the stride is taken out of the op."""
    layer = Conv2D(16, 1, strides=2, use_bias=False)
    layer.build((None, 56, 56, 8))
    graph = tf.function(layer.call).get_concrete_function(tf.TensorSpec((4, 56, 56, 8))).graph
    convolutions = [op for op in graph.get_operations() if op.type == "Conv2D"]
    assert [list(op.get_attr("strides")) for op in convolutions] == [[1, 1, 1, 1]]


def test_pad_channels():
    x = images(2, 3, 3, 4)
    y = np.array(PadChannels(6)(x))
    np.testing.assert_array_equal(y[..., :4], x)
    assert not np.any(y[..., 4:])
    with pytest.raises(ValueError, match="needs at most 3 input channels"):
        PadChannels(3)(x)


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("cropping", [((0, 0), (0, 4)), ((0, 0), (2, 3)), ((1, 2), (3, 1)), ((2, 0), (0, 0))])
def test_cropping_is_the_stock_one(cropping, data_format):
    """Numbers, shapes and gradients, sizes left open too."""
    x = images(2, 6, 7, 8)
    ours, theirs = (kind(cropping, data_format) for kind in (Cropping2D, keras.layers.Cropping2D))
    np.testing.assert_array_equal(ours(x), theirs(x))
    for one, other in zip(gradients(ours, x), gradients(theirs, x), strict=True):
        np.testing.assert_array_equal(one, other)
    open_size = keras.Input((None, None, 8))
    model = keras.Model(open_size, ours(open_size))
    assert model.output_shape == keras.Model(open_size, theirs(open_size)).output_shape
    np.testing.assert_array_equal(model(x), theirs(x))
