"""TFLite: conversion by the rule of a number format, and what stands in a file.

A file takes one image, (1, size, size, channels) of 0 to 255, and gives probabilities, (1, classes). Only builtin
operations are allowed: one that TFLite lacks is an error here, not in the app.
"""

import collections
import contextlib
import os
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_cnns import layers as ours
from keras_cnns import stock_layers
from keras_cnns.deep import deep_recursion
from training.exporting.export_model import ExportModel

# Operations of TFLite's own that stand for a layer of ours; all others are converted from stock layers.
NATIVE = (ours.Conv2D, ours.LocalResponseNormalization)


class Plain:
    """float32 throughout."""

    def __call__(self, subject: ExportModel, path: Path, images=None) -> None:
        path.write_bytes(convert(subject.whole, self))

    def set(self, converter, lite) -> None:
        """Tells TensorFlow's converter what to do."""
        converter.target_spec.supported_ops = [lite.OpsSet.TFLITE_BUILTINS]


class Float16(Plain):
    """Weights in float16; computed in float16 where the device can, else in float32."""

    def set(self, converter, lite) -> None:
        import tensorflow as tf

        super().set(converter, lite)
        converter.optimizations = [lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]


class Dynamic(Plain):
    """Weights in int8, activations quantised as they come."""

    def set(self, converter, lite) -> None:
        super().set(converter, lite)
        converter.optimizations = [lite.Optimize.DEFAULT]


class Calibrated(Plain):
    """A rule that wants images."""

    def __call__(self, subject: ExportModel, path: Path, images=None) -> None:
        path.write_bytes(convert(subject.whole, self, images))


class Int8(Calibrated):
    """Weights in int8 with a scale for each filter, activations in int8 with calibrated ranges; bytes in and out.

    What TFLite has in float only (local response normalisation) stays in float inside.
    """

    def set(self, converter, lite) -> None:
        import tensorflow as tf

        converter.optimizations = [lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [lite.OpsSet.TFLITE_BUILTINS_INT8, lite.OpsSet.TFLITE_BUILTINS]
        converter.inference_input_type = converter.inference_output_type = tf.uint8


class Int16x8(Calibrated):
    """Weights in int8, activations in int16; float32 in and out."""

    def set(self, converter, lite) -> None:
        converter.optimizations = [lite.Optimize.DEFAULT]
        both = lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [both, lite.OpsSet.TFLITE_BUILTINS]


def convert(model: keras.Model, rule: Plain, images: np.ndarray | None = None, batch: int = 1) -> bytes:
    """A model of one input and one output as the content of a TFLite file.

    Args:
        images: to calibrate the ranges of activations with, uint8 or float (n, h, w, c), as the model takes them;
            None for rules that calibrate nothing.
        batch: images at a time.

    Raises:
        ValueError: an operation that is none of TFLite's own.
    """
    import tensorflow as tf

    with deep_recursion(), tempfile.TemporaryDirectory() as folder, silence_stderr():
        model = stock_layers(model, but=NATIVE)
        archive = keras.export.ExportArchive()
        spec = tf.TensorSpec((batch, *model.input_shape[1:]), tf.float32, "image")
        archive.add_endpoint("serve", lambda image: {"probabilities": model(image, training=False)}, [spec])
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        rule.set(converter, tf.lite)
        if images is not None:
            converter.representative_dataset = lambda: ([image[None].astype("float32")] for image in images)
        return converted(converter)


def converted(converter) -> bytes:
    """What a `TFLiteConverter` makes, of builtin operations alone.

    Raises:
        ValueError: the converter fails, or an operation is not builtin.
    """
    try:
        content = converter.convert()
    except Exception as error:  # the converter's own classes are not public
        raise ValueError(f"TFLite cannot hold this network: {str(error).strip().splitlines()[0]}") from error
    foreign = [name for name in operations(content) if name.startswith("custom ")]
    if foreign:
        raise ValueError(f"TFLite lacks an operation ({foreign[0]}); only builtin ones are allowed")
    return content


def operations(content: bytes) -> dict[str, int]:
    """How often each operation stands in a TFLite file, by name; " in float" where its output is float32.

    One that is not builtin is "custom" and its name; TensorFlow's own begin with "Flex".
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


@contextlib.contextmanager
def silence_stderr():
    """Inside, the converter's chatter, which it writes straight to file descriptor 2, goes nowhere."""
    own = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(own, 2)
            os.close(own)
