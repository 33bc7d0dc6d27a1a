"""Writes an `ExportModel` as a SavedModel, as a `.keras` file of stock layers, as ONNX."""

from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from keras_cnns import layers as ours
from keras_cnns import stock_layers
from keras_cnns.deep import deep_recursion
from training.data.storage import decode


def keras_file(model, path: Path) -> None:
    """The whole network of stock Keras layers: loads without this package."""
    with deep_recursion():
        stock_layers(model.whole).save(path)


def serving_model(model: keras.Model, path: Path, batch: int | None = None) -> None:
    """A SavedModel of one signature: `image`, float32 (batch, h, w, c), to the model's outputs by name."""
    import tensorflow as tf

    def serve(image):
        outputs = model(image, training=False)
        return outputs if isinstance(outputs, dict) else {"probabilities": outputs}

    spec = tf.TensorSpec((batch, *model.input_shape[1:]), tf.float32, "image")
    with deep_recursion():
        archive = keras.export.ExportArchive()
        archive.add_endpoint("serve", serve, [spec])
        archive.write_out(str(path), verbose=False)


def saved_model(model, path: Path) -> None:
    """A SavedModel of three signatures, each with the output `probabilities` (n, classes).

    - `images`, also `serving_default`: `images`, uint8 (n, h, w, 3) of any one size. Resized, cropped and
      preprocessed inside, as the network was tested.
    - `jpegs`: `jpegs`, strings (n,): encoded images (JPEG, PNG, BMP, GIF) of any sizes.
    - `tensor`: `tensor`, float32 (n, size, size, channels), preprocessed, as the Keras network takes it.
    """
    import tensorflow as tf

    network, fused = model.network, model.fused
    shape = (network.size, network.size, network.channels)

    def predict(images):
        return {"probabilities": fused(network.preprocessing(images), training=False)}

    def serve_images(images):
        with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(images)[1:3], "images have pixels")]):
            images = tf.identity(images)
        return predict(model.resize_and_crop(images))

    def serve_jpegs(jpegs):
        return predict(
            tf.map_fn(
                lambda data: model.resize_and_crop(decode(data, 3)[None])[0],
                jpegs,
                fn_output_signature=tf.TensorSpec(shape, tf.uint8),
            )
        )

    def serve_tensor(tensor):
        tf.debugging.assert_equal(tf.shape(tensor)[1:], shape, "tensor has the size of the network")
        return {"probabilities": fused(tensor, training=False)}

    archive = keras.export.ExportArchive()
    spec = tf.TensorSpec
    archive.add_endpoint("images", serve_images, [spec((None, None, None, 3), tf.uint8, "images")])
    archive.add_endpoint("jpegs", serve_jpegs, [spec((None,), tf.string, "jpegs")])
    archive.add_endpoint("tensor", serve_tensor, [spec((None, *shape), tf.float32, "tensor")])
    with deep_recursion():
        archive.write_out(str(path), verbose=False)


def onnx(model, path: Path) -> None:
    """The whole network for ONNX runtimes, by tf2onnx."""
    with deep_recursion():
        # Without stock grouped convolutions: they call XLA, which no converter supports.
        whole = stock_layers(model.whole, but=(ours.Conv2D,))
        whole(np.zeros((1, *whole.input_shape[1:]), "float32"))  # the exporter needs a model that was called
        whole.export(str(path), format="onnx", verbose=False)


def check_onnx() -> None:
    """Raises ValueError unless the converter to ONNX, and the runtime that verifies the file, are installed."""
    missing = [name for name in ("tf2onnx", "onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ValueError(f"--to onnx needs {missing[0]}: pip install 'keras-cnns[onnx]'")
