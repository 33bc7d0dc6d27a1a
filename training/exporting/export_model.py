"""A classifier to export: its inference form, how its files are compared with it, and its part of the card."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np

from keras_cnns import fuse
from keras_cnns.deep import deep_recursion
from training.classification.trained import Trained
from training.data import pipeline
from training.data.dataset import DataSet, Split
from training.data.eval_transform import EvalTransform
from training.errors import RunError
from training.exporting import card, qat
from training.exporting.provenance import Provenance
from training.report.stream import log_messages_to

CALIBRATION = 500  # training images; ranges of activations hardly change after 300
RAW = 16  # images that also go through the signatures that take raw images
ENOUGH = 1000  # with fewer images the standard error of a drop is shown
ROUNDING = 1e-4  # a sum in another order changes a probability by less; a larger difference is an error
USAGE = Path(__file__).with_name("classifier_usage.md")


@dataclass(frozen=True)
class ExportModel:
    """A trained classifier as an `Exportable`.

    Attributes:
        network: as it was trained.
        fused: the inference form; takes what the network takes.
        whole: the same with the preprocessing in front; takes 0 to 255 RGB or grey, (n, size, size, channels).
        provenance: of the weights.
        data: to calibrate and measure on; without, files are compared on random images, and accuracy is unknown.
        images: of the validation split to measure on, at most.
        max_drop: of top-1, as a fraction, that a published file may have.
        qat: epochs of quantization-aware training before int8.
    """

    network: Trained
    fused: keras.Model
    whole: keras.Model
    provenance: Provenance | None = None
    data: DataSet | None = None
    images: int = 2000
    max_drop: float = 0.05
    qat: int = 0

    batch: ClassVar[int] = 64
    columns: ClassVar[dict] = {
        "top-1": lambda f: "unmeasured" if f["top1"] is None else f"{f['top1']:.4f}",
        "drop": lambda f: "" if f["drop"] is None else f"{f['drop']:+.4f} ± {f['drop_standard_error']:.4f}",
        "agreement": lambda f: f"{f['agreement']:.4f}",
        "largest difference": lambda f: f"{f['largest_difference']:.2g}",
        "images": lambda f: f"{f['n']}",
    }

    # --- the model and its images -------------------------------------------------------------------------------

    @property
    def shorter_side(self) -> int:
        """Pixels that the shorter side of an image is resized to before the middle is cropped."""
        crop = self.network.crop
        return crop.shorter if isinstance(crop, EvalTransform) else round(self.network.size / crop)

    def resize_and_crop(self, images):
        """uint8 images (n, h, w, 1 or 3) as the network sees them, uint8 (n, size, size, channels)."""
        n = self.network
        return pipeline.with_channels(pipeline.resize_and_crop(images, n.size, n.crop), n.channels)

    def read(self, split: Split, indices) -> np.ndarray:
        """Images of a split as the network sees them, uint8 (n, size, size, channels)."""
        out = np.empty((len(indices), *self.whole.input_shape[1:]), np.uint8)
        for row, index in zip(out, indices, strict=True):
            row[:] = np.asarray(self.resize_and_crop(split.images[int(index)][None]))[0]
        return out

    @cached_property
    def indices(self) -> np.ndarray:
        """Images of the validation split to measure on."""
        return spaced_indices(len(self.data.val), self.images)

    @cached_property
    def samples(self) -> np.ndarray:
        if self.data:
            return self.read(self.data.val, self.indices)
        shape = (RAW, *self.whole.input_shape[1:])
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    @cached_property
    def calibration(self) -> np.ndarray | None:
        """Training images to calibrate int8 with, as the network sees them."""
        if self.data:
            return self.read(self.data.train, spaced_indices(len(self.data.train), CALIBRATION))
        return None

    @cached_property
    def int8_model(self) -> keras.Model:
        """The network to write as int8: `whole`, after quantization-aware training where that is wanted."""
        if not self.qat:
            return self.whole
        return qat.train(self.whole, self.data.train, self.calibration, self.qat)

    # --- its files ----------------------------------------------------------------------------------------------

    def run(self, form, runtime, run_network) -> dict[str, np.ndarray]:
        if form.runtime != "saved_model":
            return runtime.run_batches(self.samples, self.batch)
        self._check_raw_images(runtime, run_network)
        return runtime.run_batches(self.samples, self.batch, "tensor", self.network.preprocessing)

    def _check_raw_images(self, runtime, run_network) -> None:
        """Compares the signatures that take images of any size, and JPEGs, on some images."""
        import tensorflow as tf

        images = [self.data.val.images[int(i)] for i in self.indices[:RAW]] if self.data else self.samples
        raw = [np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image for image in images]
        jpegs = [tf.io.encode_jpeg(image, quality=95).numpy() for image in raw]
        decoded = [tf.io.decode_jpeg(data, 3).numpy() for data in jpegs]
        of_raw = np.concatenate([runtime.run("images", image[None])["probabilities"] for image in raw])
        of_jpegs = runtime.run("jpegs", *(np.frombuffer(data, np.uint8) for data in jpegs))["probabilities"]
        for what, images, found in (("raw images", raw, of_raw), ("JPEGs", decoded, of_jpegs)):
            seen = np.concatenate([np.asarray(self.resize_and_crop(image[None])) for image in images])
            difference = float(np.abs(found - run_network(seen)["probabilities"]).max())
            _check_rounding(f"the network on {what}", difference)

    def compare(self, expected: dict, outputs: dict) -> dict:
        """The figures of a file; accuracies are fractions, None without labelled images.

        - `n`: images.
        - `top1`, `keras_top1`: of the file, and of the Keras network on the same images.
        - `drop`: keras_top1 - top1; `drop_standard_error`: over the images.
        - `agreement`: share of images on which both predict the same class.
        - `largest_difference`: of a probability.
        """
        found, known = outputs["probabilities"], expected["probabilities"]
        mine, theirs = found.argmax(axis=1), known.argmax(axis=1)
        top1 = keras_top1 = drop = error = None
        if self.data:
            labels = self.data.val.labels[self.indices]
            right, keras_right = mine == labels, theirs == labels
            lost = keras_right.astype(float) - right
            top1, keras_top1, drop = float(right.mean()), float(keras_right.mean()), float(lost.mean())
            error = float(lost.std() / np.sqrt(len(lost)))
        return {
            "n": len(found),
            "top1": top1,
            "keras_top1": keras_top1,
            "drop": drop,
            "drop_standard_error": error,
            "agreement": float((mine == theirs).mean()),
            "largest_difference": float(np.abs(found - known).max()),
        }

    def check(self, form, figures: dict) -> None:
        """Raises RunError for a file that loses too much, with the layers that lose most and what to try next."""
        if form.exact:
            _check_rounding("the network", figures["largest_difference"])
        drop, n = figures["drop"], figures["n"]
        if drop is None or drop <= self.max_drop:
            return
        few = f" ± {figures['drop_standard_error']:.4f} on only {n} images"
        raise RunError(
            f"it loses {drop:.4f} of top-1{few if n < ENOUGH else f' (n={n})'}, --max-drop allows "
            f"{self.max_drop:g}; {qat.advise(self.whole, self.calibration, form.file, self.qat)}"
        )

    # --- what is reported ---------------------------------------------------------------------------------------

    def record(self) -> dict:
        network = self.network
        return {
            "data": self.data and self.data.name,
            "split": self.data and "val",
            "max_drop": self.max_drop,
            "fine_tune": self.qat,
            "calibration_images": min(len(self.data.train), CALIBRATION) if self.data else 0,
            "input": {
                "size": network.size,
                "channels": network.channels,
                "range": [0, 255],
                "shorter_side": self.shorter_side,
            },
            "preprocessing": asdict(network.preprocessing),
        }

    def summary(self, record: dict) -> str:
        one = next(iter(record["files"].values()))
        if one["top1"] is None:
            return f"Accuracy: unmeasured, without --data; compared on {one['n']} random images."
        return (
            f"Measured on {one['n']} images of {record['data']}, {record['split']} split, where the Keras network "
            f"has top-1 {one['keras_top1']:.4f}. Drop: absolute, ± its standard error."
        )

    def usage(self, files) -> str:
        network, preprocessing = self.network, self.network.preprocessing
        colours = network.channels == 3
        mean, std = (", ".join(f"{v:g}" for v in v) for v in (preprocessing.mean, preprocessing.std))
        file = next((f for f in files if f.endswith(".tflite")), "")
        quantized = file == "model_int8.tflite"
        count = network.size**2 * network.channels
        return card.fill(
            USAGE,
            files,
            side=network.size,
            channels=network.channels,
            colours="RGB" if colours else "grey",
            order=preprocessing.order.upper() if colours else "grey",
            mean=mean,
            std=std,
            shorter_side=self.shorter_side,
            filter=f" ({network.crop.interpolation})" if isinstance(network.crop, EvalTransform) else "",
            classes=len(network.classes),
            file=file,
            stem=file.removesuffix(".tflite"),
            values=count,
            bytes=count if quantized else 4 * count,
            dtype="uint8" if quantized else "float32",
            kotlin_array="ByteArray" if quantized else "FloatArray",
            swift_type="UInt8" if quantized else "Float32",
            cpp_type="uint8_t" if quantized else "float",
        )


def build(network: Trained, **options) -> ExportModel:
    """The export model of a network; `options` are the other attributes of `ExportModel`."""
    with deep_recursion():
        image = keras.Input(network.model.input_shape[1:], name="image")
        whole = keras.Model(image, network.model(network.preprocessing.as_layers(image)), name=network.model.name)
        fused = fuse(network.model)
        with log_messages_to([].append):  # the second call would log the same again
            return ExportModel(network, fused, fuse(whole), **options)


def spaced_indices(count: int, wanted: int) -> np.ndarray:
    """At most `wanted` of `count` indices, evenly spaced.

    >>> spaced_indices(10, 4)
    array([0, 2, 5, 7])
    """
    wanted = min(count, wanted)
    return np.arange(wanted) * count // max(wanted, 1)


def _check_rounding(what: str, difference: float) -> None:
    if not difference <= ROUNDING:
        raise RunError(
            f"a probability differs from that of {what} by {difference:.2g}; rounding is at most {ROUNDING:g}"
        )
