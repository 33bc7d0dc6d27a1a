"""TFLite files: five number formats of one converter, and the operations that a file holds.

A file takes one image, (1, h, w, channels) of 0 to 255. Only builtin operations are allowed: one that TFLite lacks
is an error here, not in the app.
"""

import collections
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_cnns import layers as ours
from keras_cnns import stock_layers
from keras_cnns.deep import deep_recursion
from training.exporting import writers
from training.processes import silence_stderr

# Layers of ours that are one builtin operation of TFLite; all others are converted from stock layers.
NATIVE = (ours.Conv2D, ours.LocalResponseNormalization)


def write(quantize: str, model, path: Path) -> None:
    """Writes an `ExportModel` as a TFLite file of one of `KINDS`."""
    network = model.int8_model if quantize == "int8" else model.whole
    images = model.calibration if quantize in CALIBRATED else None
    path.write_bytes(convert(with_native_layers(network), quantize, images))


def with_native_layers(model: keras.Model) -> keras.Model:
    """The model from stock layers and the layers of `NATIVE`, as it is converted."""
    with deep_recursion():
        return stock_layers(model, but=NATIVE)


KINDS = (  # int8 weights have a scale for each filter
    "none",  # float32 throughout
    "float16",  # float16 weights; computed in float16 where the device can, else in float32
    "dynamic",  # int8 weights; activations are quantized at run time
    "int8",  # int8 weights, int8 activations with calibrated ranges; bytes in and out
    "int16x8",  # int8 weights, int16 activations; float32 in and out
)
CALIBRATED = ("int8", "int16x8")  # kinds that need images


def _configure(converter, tf, kind: str) -> None:
    """Sets a converter to one of `KINDS`. Operations that TFLite has in float only (LRN) stay in float."""
    known, target = tf.lite.OpsSet, converter.target_spec
    target.supported_ops = [known.TFLITE_BUILTINS]
    if kind != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        target.supported_types = [tf.float16]
    if kind == "int8":
        target.supported_ops.insert(0, known.TFLITE_BUILTINS_INT8)
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    if kind == "int16x8":
        target.supported_ops.insert(0, known.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8)


def convert(model: keras.Model, quantize: str = "none", images: np.ndarray | None = None, batch: int = 1) -> bytes:
    """A model of one input as the content of a TFLite file.

    Args:
        quantize: one of `KINDS`.
        images: for the kinds of `CALIBRATED`, uint8 or float (n, h, w, c), as the model takes them.
        batch: images at a time.

    Raises:
        ValueError: the converter fails, or an operation is not builtin.
    """
    import tensorflow as tf

    with deep_recursion(), tempfile.TemporaryDirectory() as folder, silence_stderr(replay=False):
        writers.serving_model(model, folder, batch)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        _configure(converter, tf, quantize)
        if images is not None:
            converter.representative_dataset = lambda: ([image[None].astype("float32")] for image in images)
        try:
            content = converter.convert()
        except Exception as error:  # the converter's own classes are not public
            raise ValueError(f"TFLite cannot hold this network: {str(error).strip().splitlines()[0]}") from error
    foreign = [name for name in operations(content) if name.startswith("custom ")]
    if foreign:
        raise ValueError(f"only builtin operations of TFLite are allowed, got {foreign[0]}")
    return content


def operations(content: bytes) -> dict[str, int]:
    """How often a TFLite file holds each operation, by name; " in float" is added where its output is float32.

    An operation that is not builtin is "custom" and its name; TensorFlow's own begin with "Flex".
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    found = collections.Counter()
    for graph in model.subgraphs:
        for op in graph.operators:
            code = model.operatorCodes[op.opcodeIndex]
            name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            if name == "CUSTOM":
                name = f"custom {code.customCode.decode()}"
            floating = graph.tensors[op.outputs[0]].type == schema.TensorType.FLOAT32
            found[f"{name} in float" if floating else name] += 1
    return dict(found)
