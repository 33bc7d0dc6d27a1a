"""Contestants that run in Keras: ours, stock Keras layers, keras.applications.

A subject is a function n -> seconds that n units of work took.
"""

import time
from collections.abc import Callable

import keras
import numpy as np

from keras_cnns import layers as ours
from keras_cnns import zoo
from keras_cnns.deep import deep_recursion
from keras_cnns.surgery.fully_convolutional import fully_convolutional
from keras_cnns.surgery.fuse import fuse
from keras_cnns.surgery.swap import swap
from training.bench.task import Task, Unavailable
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
CROPS = 36  # the 6x6 places that one dense pass over 384 pixels answers for


def make(task: Task) -> Callable[[int], float]:
    """The subject of a task.

    Raises:
        Unavailable: this engine has no such network or mode.
    """
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(PRECISIONS[task.precision])
    discipline = {"build": building, "first_step": first_step, "train": training}.get(task.mode, inference)
    return discipline(task)


def network(task: Task, size: int | None = None) -> keras.Model:
    """The network of a task, with logits."""
    side = size or task.size
    shape, options = (side, side, zoo.architecture(task.arch).input_shape[-1]), {"classifier_activation": None}
    if task.engine == "keras_applications":
        if task.arch not in APPLICATIONS:
            raise Unavailable(f"keras.applications has no {task.arch}")
        if task.arch.startswith("vgg") and side != 224:
            raise Unavailable("the dense head of keras.applications takes 224 pixels")
        return getattr(keras.applications, APPLICATIONS[task.arch])(weights=None, input_shape=shape, **options)
    model = zoo.create_model(task.arch, input_shape=shape, **options)
    return model if task.engine == "ours" else swap(model, stock)


def stock(layer):
    """The layer of stock Keras that has the same numbers, where there is one."""
    twins = {ours.BatchNormalization: "BatchNormalization", ours.Conv2D: "Conv2D", ours.Cropping2D: "Cropping2D"}
    if type(layer) not in twins:
        return layer
    options = layer.get_config()
    if max(options.get("strides", (1,))) > 1 and max(options.get("dilation_rate", (1,))) > 1:
        raise Unavailable("stock Keras has no convolution with stride and dilation")
    return getattr(keras.layers, twins[type(layer)]).from_config(options)


def batch(task: Task, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels."""
    rng, a = np.random.default_rng(0), zoo.architecture(task.arch)
    side = size or task.size
    images = rng.normal(size=(task.batch, side, side, a.input_shape[-1])).astype("float32")
    return images, rng.integers(0, a.classes, task.batch).astype("int32")


# --- building ---------------------------------------------------------------------------------------------------


def building(task: Task) -> Callable[[int], float]:
    """Models built and thrown away."""

    def run(n: int) -> float:
        seconds = 0.0
        for _ in range(n):
            keras.backend.clear_session()
            began = time.perf_counter()
            network(task)
            seconds += time.perf_counter() - began
        return seconds

    return run


def first_step(task: Task) -> Callable[[int], float]:
    """From a built model to the end of its first training step."""

    def run(n: int) -> float:
        seconds = 0.0
        for _ in range(n):
            keras.backend.clear_session()
            with deep_recursion():
                model = network(task)
                began = time.perf_counter()
                stepper(model, task)(1)
                seconds += time.perf_counter() - began
        return seconds

    return run


# --- training ---------------------------------------------------------------------------------------------------


def training(task: Task) -> Callable[[int], float]:
    """Training steps on one batch that is there already."""
    return stepper(network(task), task)


def stepper(model: keras.Model, task: Task) -> Callable[[int], float]:
    """Our step for our networks, Keras' own for the others."""
    images, labels = batch(task)
    xla = task.xla or backend.compiles
    if task.engine == "ours":
        model = backend.step(model.inputs, model.outputs)
        model.compile(Momentum(0.01, momentum=0.9), SoftCrossEntropy(), xla=xla)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, jit_compile=xla)
    if backend.name != "tensorflow":
        return fitting(model, images, labels)
    import tensorflow as tf

    model.make_train_function()
    step = model.train_function
    stream = iter(tf.data.Dataset.from_tensors((images, labels)).repeat().prefetch(1))

    def run(n: int) -> float:
        began = time.perf_counter()
        for _ in range(n):
            logs = step(stream)
        float(logs["loss"])
        return time.perf_counter() - began

    return run


def fitting(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> Callable[[int], float]:
    """Steps by `model.fit`, which keeps the state on the device from step to step; the batch is there, too."""
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


def inference(task: Task) -> Callable[[int], float]:
    """Forward passes, in the form that the mode names."""
    if task.mode in ("dense", "crops"):
        return dense(task)
    model = network(task)
    images = batch(task)[0]
    if task.mode in ("fused", "saved_model", "tflite"):
        model = fuse(model)
    if task.mode == "predict":
        return times(lambda: model.predict(images, batch_size=task.batch, verbose=0))
    if task.mode == "eager":
        return times(lambda: np.asarray(model(images, training=False)))
    if task.mode == "saved_model":
        return saved_model(model, images)
    if task.mode == "tflite":
        return tflite(model, images)
    return compiled(model, images, task.xla)


def dense(task: Task) -> Callable[[int], float]:
    """VGG's test at 384 pixels: one pass of the convolutional form, or 36 crops through the original."""
    model = network(task, 224)
    if task.mode == "dense":
        model, images = fully_convolutional(model), batch(task, 384)[0]
    else:
        images = np.concatenate([batch(task, 224)[0]] * CROPS)
    return compiled(model, images, task.xla)


def compiled(model: keras.Model, images: np.ndarray, xla: bool) -> Callable[[int], float]:
    """Forward passes compiled by the engine, one after the other, on images that are there already."""
    if backend.name != "tensorflow":
        forward, x = backend.on_device(model), keras.ops.convert_to_tensor(images)

        def run(n: int) -> float:
            began = time.perf_counter()
            for _ in range(n):
                out = forward(x)
            keras.ops.convert_to_numpy(out)  # waits for the last, and so for all
            return time.perf_counter() - began

        return run
    import tensorflow as tf

    function = tf.function(lambda x: model(x, training=False), jit_compile=xla or None)
    x = tf.constant(images)
    return times(lambda: function(x).numpy())


def saved_model(model: keras.Model, images: np.ndarray) -> Callable[[int], float]:
    """The exported model, loaded again."""
    import tempfile

    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        loaded = tf.saved_model.load(folder)
    x = tf.constant(images)
    return times(lambda: loaded.serve(x).numpy())


def tflite(model: keras.Model, images: np.ndarray) -> Callable[[int], float]:
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

    return times(run)


def times(call: Callable[[], object]) -> Callable[[int], float]:
    """A subject from a function of no arguments."""

    def run(n: int) -> float:
        began = time.perf_counter()
        for _ in range(n):
            call()
        return time.perf_counter() - began

    return run


def matmul(task: Task) -> Callable[[int], float]:
    """The machine's peak in a precision: square matrix products of 2,048.

    An accelerator would hardly wake up for one of them: there a product of 8,192 counts as the 64 that it is.
    """
    larger = 4 if backend.has_accelerator else 1
    side = 2048 * larger
    a = keras.ops.cast(np.random.default_rng(0).normal(size=(side, side)), task.precision)

    def run(n: int) -> float:
        began = time.perf_counter()
        for _ in range(n):
            product = keras.ops.matmul(a, a)
        float(keras.ops.cast(product[0, 0], "float32"))  # NumPy has no bfloat16
        return (time.perf_counter() - began) / larger**3

    return run
