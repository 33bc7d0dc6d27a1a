"""Runs one exported file with its runtime, without this project: the worker of `verification.Runtime`.

A request is (signature, arrays, times). The answer is the outputs by name; where `times` is not 0, the seconds of
each of that many runs.
"""

import sys
import time
from functools import partial

import numpy as np


def saved_model(path: str, threads: int):
    """TensorFlow, by signature, as a server calls it."""
    tf = tensorflow(threads)
    signatures = tf.saved_model.load(path).signatures

    def run(signature, arrays):
        function = signatures[signature]
        ((name, spec),) = function.structured_input_signature[1].items()
        value = tf.constant([a.tobytes() for a in arrays] if spec.dtype == tf.string else arrays[0])
        return {key: output.numpy() for key, output in function(**{name: value}).items()}

    return run


def keras_file(path: str, threads: int, package: bool = False):
    """Keras, the model compiled as one graph; with this `package` for files that hold layers of the package."""
    tf = tensorflow(threads)
    if package:
        import keras_cnns.detection

        model = keras_cnns.load_model(path)
    else:
        import keras

        sys.setrecursionlimit(100_000)  # Keras recurses once for each layer
        model = keras.models.load_model(path)
    shape = (None, *model.inputs[0].shape[1:])
    function = tf.function(lambda x: model(x, training=False), [tf.TensorSpec(shape, tf.float32)])

    def run(signature, arrays):
        outputs = function(arrays[0].astype("float32"))
        outputs = outputs if isinstance(outputs, dict) else {"probabilities": outputs}
        return {key: output.numpy() for key, output in outputs.items()}

    return run


def tflite(path: str, threads: int):
    """LiteRT, one image at a time; quantized inputs and outputs are converted with the file's own scales."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=path, num_threads=threads).get_signature_runner("serving_default")
    ((name, entry),) = runner.get_input_details().items()
    scales = {key: details["quantization"] for key, details in runner.get_output_details().items()}

    def quantize(image):
        scale, zero = entry["quantization"]
        if not scale:
            return image
        limits = np.iinfo(entry["dtype"])
        return np.clip(np.round(image / scale + zero), limits.min, limits.max)

    def dequantize(output, scale, zero):
        return (output.astype("float32") - zero) * scale if scale else output

    def run(signature, arrays):
        images = np.split(arrays[0].astype("float32"), len(arrays[0]))
        outputs = [runner(**{name: quantize(image).astype(entry["dtype"])}) for image in images]
        return {key: np.concatenate([dequantize(o[key], *scales[key]) for o in outputs]) for key in scales}

    return run


def onnx(path: str, threads: int):
    """ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda signature, arrays: {"probabilities": session.run(None, {name: arrays[0].astype("float32")})[0]}


def tensorflow(threads: int):
    """TensorFlow on a number of threads: the same for every runtime, so that latencies can be compared."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return tf


RUNTIMES = {
    "saved_model": saved_model,
    "keras": keras_file,
    "keras_cnns": partial(keras_file, package=True),
    "tflite": tflite,
    "onnx": onnx,
}


def start(runtime: str, path: str, threads: str):
    """Loads the file; returns the function that answers requests."""
    if runtime != "keras_cnns":
        sys.modules["keras_cnns"] = sys.modules["training"] = None  # the file must load without them
    run = RUNTIMES[runtime](path, int(threads))

    def answer(request):
        signature, arrays, times = request
        if not times:
            return run(signature, arrays)
        seconds = []
        for _ in range(times):
            began = time.perf_counter()
            run(signature, arrays)
            seconds.append(time.perf_counter() - began)
        return seconds

    return answer
