"""A detector as a SavedModel and as a TFLite file, with answers of fixed size, each run before it is published."""

import tempfile
from pathlib import Path

import keras
import numpy as np

from training.detection.pipeline import pad_image, resize_image
from training.detection.trained import Detector
from training.errors import RunError
from training.exporting.tflite import converted, silence_stderr
from training.report.folder import write_json, write_text

FORMATS = {"saved_model": "saved_model", "tflite": "model.tflite", "keras": "model.keras"}
NAMES = ("boxes", "scores", "classes", "count")
CLOSE = 0.5  # pixels that a box may differ between runtimes, and hundredths of a score
IMAGES = 8


def export(detector: Detector, formats: list[str], out: Path, images: list[np.ndarray], say) -> list[str]:
    """Writes the files into a folder and compares each, on some images, with the network it was made of.

    Raises:
        Failure: a format cannot hold the network, or a file answers otherwise.
    """
    out.mkdir(parents=True, exist_ok=True)
    model, proofs = with_pixels(detector), {}
    seen = [canvas(detector, image) for image in images]
    wanted = [{k: np.asarray(v) for k, v in model(x[None], training=False).items()} for x in seen]
    for form in formats:
        path = out / FORMATS[form]
        say(f"making {path}")
        run = {"saved_model": _saved_model, "tflite": _tflite, "keras": _keras}[form](model, path)
        proofs[FORMATS[form]] = {"images": len(seen), "worst": compare(wanted, [run(x[None]) for x in seen], path)}
    write_text(out / "labels.txt", "\n".join(detector.classes) + "\n")
    height, width, _ = model.input_shape[1:]
    write_json(
        out / "export.json",
        {"name": detector.name, "input": {"height": height, "width": width, "range": [0, 255]}, "files": proofs},
    )
    return list(proofs)


def with_pixels(detector: Detector) -> keras.Model:
    """The network on (n, h, w, 3) of 0 to 255: the image at its size in the upper left corner, zeros around it."""
    if None in detector.canvas:
        raise ValueError("an exported detector sees images of one size: train with fit.shorter = fit.longer")
    image = keras.Input(detector.canvas, name="image")
    return keras.Model(image, detector.model(detector.preprocessing.as_layers(image)), name="detector")


def canvas(detector: Detector, image: np.ndarray) -> np.ndarray:
    """A uint8 image of any size as the exported network takes it, float32."""
    return np.asarray(
        pad_image(resize_image(image, detector.fit)[0], detector.fit, image.shape[0] > image.shape[1])
    )


def compare(wanted: list[dict], came: list[dict], path: Path) -> float:
    """The largest difference of a box that both found, in pixels. Of equal scores either may come first.

    Raises:
        Failure: other counts or classes, or boxes and scores that are not close.
    """
    worst = 0.0
    for one, other in zip(wanted, came, strict=True):
        count, theirs = int(one["count"][0]), int(other["count"][0])
        if theirs != count:
            raise RunError(f"{path} finds {theirs} objects where the network finds {count}")
        for box, score, kind in zip(*(one[k][0, :count] for k in NAMES[:3]), strict=True):
            alike = (other["classes"][0, :count] == kind) & (
                np.abs(other["scores"][0, :count] - score) <= CLOSE / 100
            )
            if not alike.any():
                raise RunError(
                    f"{path} does not find class {kind} with a score of {score:.3f}, as the network does"
                )
            worst = max(worst, float(np.abs(other["boxes"][0, :count][alike] - box).max(axis=1).min()))
    if worst > CLOSE:
        raise RunError(f"{path} places a box {worst:.2f} pixels off")
    return worst


def _saved_model(model: keras.Model, path: Path):
    """A SavedModel: `image`, float32 (n, h, w, 3) -> `boxes`, `scores`, `classes`, `count`."""
    import tensorflow as tf

    archive = keras.export.ExportArchive()
    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, "image")
    archive.add_endpoint("serve", lambda image: model(image, training=False), [spec])
    archive.write_out(str(path), verbose=False)
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    return lambda x: {k: v.numpy() for k, v in serve(image=tf.constant(x)).items()}


def _tflite(model: keras.Model, path: Path):
    """A TFLite file of builtin operations: one image at a time."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, silence_stderr():
        archive = keras.export.ExportArchive()
        spec = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, "image")
        archive.add_endpoint("serve", lambda image: model(image, training=False), [spec])
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            content = converted(converter)
        except ValueError as error:
            raise RunError(str(error)) from error
    path.write_bytes(content)
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content).get_signature_runner("serving_default")
    return lambda x: runner(image=x)


def _keras(model: keras.Model, path: Path):
    """A `.keras` file; to load it takes `import keras_cnns.detection`."""
    model.save(path)
    again = keras.models.load_model(path)
    return lambda x: {k: np.asarray(v) for k, v in again(x, training=False).items()}
