"""A process that runs one exported file, with nothing of this project: python -P worker.py RUNTIME PATH THREADS

Requests come on standard input, one line of JSON each: {"call": SIGNATURE, "arrays": n} with n arrays in NumPy's
format behind it, or {"time": n}, which repeats the last call on its first image n times. Answers: {"ok": true}
with an array behind it, {"seconds": [...]}, or {"error": text}.
"""

import json
import os
import sys
import time
from types import SimpleNamespace

import numpy as np


def saved_model(path: str, threads: int):
    """Calls by signature, the way a server does."""
    import tensorflow as tf

    limit(tf, threads)
    signatures = tf.saved_model.load(path).signatures

    def call(name, arrays):
        if name == "jpegs":
            value = tf.constant([a.tobytes() for a in arrays])
        else:
            value = tf.constant(np.concatenate(arrays) if len(arrays) > 1 else arrays[0])
        return signatures[name](**{name: value})["probabilities"].numpy()

    return call


def keras_file(path: str, threads: int):
    """The model as one compiled graph."""
    import keras
    import tensorflow as tf

    limit(tf, threads)
    sys.setrecursionlimit(100_000)  # Keras goes down one frame a layer
    return compiled(tf, keras.models.load_model(path))


def reference(path: str, threads: int):
    """The network as it was trained, for which alone this package is needed."""
    import tensorflow as tf

    import keras_cnns

    limit(tf, threads)
    return compiled(tf, keras_cnns.load_model(path))


def compiled(tf, model):
    """A model as one compiled graph."""
    shape = (None, *model.inputs[0].shape[1:])
    function = tf.function(lambda x: model(x, training=False), [tf.TensorSpec(shape, tf.float32)])
    return lambda name, arrays: function(arrays[0].astype("float32")).numpy()


def tflite(path: str, threads: int):
    """LiteRT, one image at a time, with the file's own scales for numbers that are not floating."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    size, low = entry["quantization"]
    scale, zero = end["quantization"]

    def one(image):
        if size:
            limits = np.iinfo(entry["dtype"])
            image = np.clip(np.round(image / size + low), limits.min, limits.max)
        interpreter.set_tensor(entry["index"], image.astype(entry["dtype"]))
        interpreter.invoke()
        found = interpreter.get_tensor(end["index"])
        return (found.astype("float32") - zero) * scale if scale else found

    def call(name, arrays):
        return np.concatenate([one(arrays[0][i : i + 1].astype("float32")) for i in range(len(arrays[0]))])

    return call


def onnx(path: str, threads: int):
    """ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    return lambda name, arrays: session.run(None, {entry: arrays[0].astype("float32")})[0]


def limit(tf, threads: int) -> None:
    """As many threads as the others have."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


RUNTIMES = {
    "saved_model": saved_model,
    "keras": keras_file,
    "reference": reference,
    "tflite": tflite,
    "onnx": onnx,
}


def main() -> None:
    runtime, path, threads = sys.argv[1:]
    answers, requests = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    pipe = SimpleNamespace(read=requests.read)  # NumPy asks real files for their position, which a pipe has not
    os.dup2(2, 1)  # what libraries print must not be taken for an answer

    def say(what: dict, array=None):
        answers.write(json.dumps(what).encode() + b"\n")
        if array is not None:
            np.lib.format.write_array(SimpleNamespace(write=answers.write), array, allow_pickle=False)
        answers.flush()

    if runtime != "reference":
        sys.modules["keras_cnns"] = sys.modules["training"] = None  # the file must do without
    try:
        call = RUNTIMES[runtime](path, int(threads))
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        return
    say({"ok": True})
    last = None
    for line in requests:
        request = json.loads(line)
        if "time" in request:
            name, arrays = last
            one, seconds = [arrays[0][:1]], []
            for _ in range(request["time"]):
                began = time.perf_counter()
                call(name, one)
                seconds.append(time.perf_counter() - began)
            say({"seconds": seconds})
            continue
        arrays = [np.lib.format.read_array(pipe, allow_pickle=False) for _ in range(request["arrays"])]
        last = request["call"], arrays
        try:
            found = call(*last)
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})
        else:
            say({"ok": True}, np.ascontiguousarray(found, "float32"))


if __name__ == "__main__":
    main()
