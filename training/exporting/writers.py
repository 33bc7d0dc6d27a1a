"""A network as a SavedModel, as a `.keras` file of stock layers, as ONNX."""

from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from keras_cnns import layers as ours
from keras_cnns import stock_layers
from keras_cnns.deep import deep_recursion
from training.data.storage import decode
from training.exporting.export_model import ExportModel


def keras_file(subject: ExportModel, path: Path, images=None) -> None:
    """The whole network of stock Keras layers: loads without this package."""
    with deep_recursion():
        stock_layers(subject.whole).save(path)


def saved_model(subject: ExportModel, path: Path, images=None) -> None:
    """A SavedModel of three signatures, each with the output `probabilities` (n, classes).

    - `images`, also `serving_default`: `images`, uint8 (n, h, w, 3) of any one size. Resized, cropped and
      preprocessed inside, as the network was tested.
    - `jpegs`: `jpegs`, strings (n,): encoded images (JPEG, PNG, BMP, GIF) of any sizes.
    - `tensor`: `tensor`, float32 (n, size, size, channels), preprocessed, as the Keras network takes it.
    """
    import tensorflow as tf

    network, model, side = subject.network, subject.fused, subject.network.size

    def answer(seen):
        return {"probabilities": model(network.preprocessing(seen), training=False)}

    def of_images(images):
        with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(images)[1:3], "images have pixels")]):
            images = tf.identity(images)
        return answer(subject.seen(images))

    def of_jpegs(jpegs):
        one = tf.TensorSpec((side, side, network.channels), tf.uint8)
        return answer(
            tf.map_fn(lambda data: subject.seen(decode(data, 3)[None])[0], jpegs, fn_output_signature=one)
        )

    def of_tensor(tensor):
        tf.debugging.assert_equal(
            tf.shape(tensor)[1:], model.input_shape[1:], "tensor has the size of the network"
        )
        return {"probabilities": model(tensor, training=False)}

    archive = keras.export.ExportArchive()
    spec = tf.TensorSpec
    archive.add_endpoint("images", of_images, [spec((None, None, None, 3), tf.uint8, "images")])
    archive.add_endpoint("jpegs", of_jpegs, [spec((None,), tf.string, "jpegs")])
    shape = (None, *model.input_shape[1:])
    archive.add_endpoint("tensor", of_tensor, [spec(shape, tf.float32, "tensor")])
    with deep_recursion():
        archive.write_out(str(path), verbose=False)


def onnx(subject: ExportModel, path: Path, images=None) -> None:
    """The whole network for ONNX runtimes, by tf2onnx."""
    with deep_recursion():
        # Without stock grouped convolutions, which call XLA: no converter takes that.
        model = stock_layers(subject.whole, but=(ours.Conv2D,))
        model(np.zeros((1, *model.input_shape[1:]), "float32"))  # the exporter wants a model that was called
        model.export(str(path), format="onnx", verbose=False)


def check_onnx() -> None:
    """Raises ValueError unless the converter to ONNX, and the runtime that proves the file, are installed."""
    missing = [name for name in ("tf2onnx", "onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ValueError(f"--to onnx needs {missing[0]}: pip install 'keras-cnns[onnx]'")
