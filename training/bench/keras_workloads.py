"""Workloads that run in Keras: our networks, stock Keras layers, keras.applications.

Each is a function: n -> seconds that n units of work took.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np

from keras_cnns import layers as ours
from keras_cnns import zoo
from keras_cnns.deep import deep_recursion
from keras_cnns.surgery.fully_convolutional import fully_convolutional
from keras_cnns.surgery.fuse import fuse
from keras_cnns.surgery.swap import swap
from training.bench.workload import Unavailable, Workload, time_calls
from training.engine.backends import backend
from training.engine.devices import PRECISIONS
from training.engine.step import SoftCrossEntropy
from training.exporting.tflite import convert, with_native_layers
from training.recipes.optimizers import Momentum

APPLICATIONS = {
    "resnet50_v1": "ResNet50",
    "resnet101_v1": "ResNet101",
    "resnet152_v1": "ResNet152",
    "resnet50_v2": "ResNet50V2",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
}
CROPS = 36  # the 6x6 positions of one dense pass over 384 pixels


def make(workload: Workload) -> Callable[[int], float]:
    """The function that runs a workload.

    Raises:
        Unavailable: the engine has no such network or mode.
    """
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(PRECISIONS[workload.precision])
    if workload.mode == "build":
        return time_afresh(lambda: None, lambda _: build_network(workload))
    if workload.mode == "first_step":
        return time_afresh(lambda: build_network(workload), lambda model: time_steps(model, workload)(1))
    if workload.mode == "train":
        return time_steps(build_network(workload), workload)
    return time_inference(workload)


def build_network(workload: Workload) -> keras.Model:
    """The network of a workload, with logits."""
    side = workload.size
    shape, options = (side, side, zoo.architecture(workload.arch).input_shape[-1]), {"classifier_activation": None}
    if workload.engine == "keras_applications":
        if workload.arch not in APPLICATIONS:
            raise Unavailable(f"keras.applications has no {workload.arch}")
        if workload.arch.startswith("vgg") and side != 224:
            raise Unavailable("the dense head of keras.applications takes 224 pixels")
        return getattr(keras.applications, APPLICATIONS[workload.arch])(weights=None, input_shape=shape, **options)
    model = zoo.create_model(workload.arch, input_shape=shape, **options)
    return model if workload.engine == "ours" else swap(model, to_stock_layer)


def to_stock_layer(layer):
    """The layer of stock Keras that computes the same, where there is one."""
    twins = {ours.BatchNormalization: "BatchNormalization", ours.Conv2D: "Conv2D", ours.Cropping2D: "Cropping2D"}
    if type(layer) not in twins:
        return layer
    options = layer.get_config()
    if max(options.get("strides", (1,))) > 1 and max(options.get("dilation_rate", (1,))) > 1:
        raise Unavailable("stock Keras has no convolution with stride and dilation")
    return getattr(keras.layers, twins[type(layer)]).from_config(options)


def make_batch(workload: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels."""
    rng, a = np.random.default_rng(0), zoo.architecture(workload.arch)
    shape = (workload.batch, workload.size, workload.size, a.input_shape[-1])
    images = rng.normal(size=shape).astype("float32")
    return images, rng.integers(0, a.classes, workload.batch).astype("int32")


# --- building ---------------------------------------------------------------------------------------------------


def time_afresh(prepare: Callable, call: Callable) -> Callable[[int], float]:
    """Calls on what `prepare` makes, which is not timed, in a new session of Keras each."""

    def run(n: int) -> float:
        seconds = 0.0
        for _ in range(n):
            keras.backend.clear_session()
            with deep_recursion():
                prepared = prepare()
                began = time.perf_counter()
                call(prepared)
                seconds += time.perf_counter() - began
        return seconds

    return run


# --- training ---------------------------------------------------------------------------------------------------


def time_steps(model: keras.Model, workload: Workload) -> Callable[[int], float]:
    """Training steps on one batch in memory: our step for our networks, Keras' own for the others."""
    images, labels = make_batch(workload)
    xla = workload.xla or backend.always_xla
    if workload.engine == "ours":
        model = backend.model_class(model.inputs, model.outputs)
        model.compile(Momentum(0.01, momentum=0.9), SoftCrossEntropy(), xla=xla)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, jit_compile=xla)
    if backend.name != "tensorflow":
        return time_fit(model, images, labels)
    import tensorflow as tf

    model.make_train_function()
    step = model.train_function
    stream = iter(tf.data.Dataset.from_tensors((images, labels)).repeat().prefetch(1))
    return time_calls(lambda: step(stream), lambda logs: float(logs["loss"]))


def time_fit(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> Callable[[int], float]:
    """Steps by `model.fit`, which keeps state and batch on the device."""
    images, labels = keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(labels)

    def stream():
        while True:
            yield images, labels

    def run(n: int) -> float:
        began = time.perf_counter()
        model.fit(stream(), steps_per_epoch=n, verbose=0)
        return time.perf_counter() - began

    return run


# --- inference --------------------------------------------------------------------------------------------------


def time_inference(workload: Workload) -> Callable[[int], float]:
    """Forward passes of the form that the mode names."""
    if workload.mode in ("dense", "crops"):
        return time_dense_test(workload)
    model = build_network(workload)
    images = make_batch(workload)[0]
    if workload.mode in ("fused", "saved_model", "tflite"):
        model = fuse(model)
    if workload.mode == "predict":
        return time_calls(lambda: model.predict(images, batch_size=workload.batch, verbose=0))
    if workload.mode == "eager":
        return time_calls(lambda: np.asarray(model(images, training=False)))
    if workload.mode == "saved_model":
        return time_saved_model(model, images)
    if workload.mode == "tflite":
        return time_tflite(model, images)
    return time_compiled(model, images, workload.xla)


def time_dense_test(workload: Workload) -> Callable[[int], float]:
    """VGG's test at 384 pixels: one pass of the convolutional form, or 36 crops through the original."""
    small = replace(workload, size=224)
    model = build_network(small)
    if workload.mode == "dense":
        model, images = fully_convolutional(model), make_batch(replace(workload, size=384))[0]
    else:
        images = np.concatenate([make_batch(small)[0]] * CROPS)
    return time_compiled(model, images, workload.xla)


def time_compiled(model: keras.Model, images: np.ndarray, xla: bool) -> Callable[[int], float]:
    """Forward passes compiled by the engine, one after the other, on images in memory."""
    if backend.name != "tensorflow":
        forward, x = backend.on_device(model), keras.ops.convert_to_tensor(images)
        return time_calls(lambda: forward(x), keras.ops.convert_to_numpy)
    import tensorflow as tf

    function = tf.function(lambda x: model(x, training=False), jit_compile=xla or None)
    x = tf.constant(images)
    return time_calls(lambda: function(x).numpy())


def time_saved_model(model: keras.Model, images: np.ndarray) -> Callable[[int], float]:
    """The exported model, loaded again."""
    import tempfile

    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        loaded = tf.saved_model.load(folder)
    x = tf.constant(images)
    return time_calls(lambda: loaded.serve(x).numpy())


def time_tflite(model: keras.Model, images: np.ndarray) -> Callable[[int], float]:
    """The converted model in LiteRT, on as many threads as there are cores."""
    import os

    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise Unavailable("ai-edge-litert is not installed") from None
    content = convert(with_native_layers(model), batch=len(images))
    interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]
    out = interpreter.get_output_details()[0]["index"]

    def run():
        interpreter.set_tensor(place, images)
        interpreter.invoke()
        return interpreter.get_tensor(out)

    return time_calls(run)


def time_matmul(workload: Workload) -> Callable[[int], float]:
    """The machine's peak in a precision: square matrix products of 2,048.

    One of them is too small for an accelerator: there a product of 8,192, as much work as 64, is measured.
    """
    larger = 4 if backend.has_accelerator else 1
    side = 2048 * larger
    a = keras.ops.cast(np.random.default_rng(0).normal(size=(side, side)), workload.precision)
    run = time_calls(
        lambda: keras.ops.matmul(a, a),
        lambda product: float(keras.ops.cast(product[0, 0], "float32")),  # NumPy has no bfloat16
    )
    return lambda n: run(n) / larger**3
