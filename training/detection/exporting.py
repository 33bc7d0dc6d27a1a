"""A detector to export: its formats, how its files are compared with it, and its part of the card."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np

from keras_cnns.deep import deep_recursion
from training.detection import sources, trained
from training.detection.pipeline import fit_to_canvas
from training.detection.trained import Detector
from training.errors import RunError
from training.exporting import card, provenance, tflite, writers
from training.exporting.formats import Format
from training.exporting.provenance import Provenance
from training.run_folder.results import finished_result

IMAGES = 8
MAX_SHIFT = 0.5  # pixels that a box may differ between runtimes
MAX_SCORE_DIFFERENCE = 0.005
USAGE = Path(__file__).with_name("detector_usage.md")


@dataclass(frozen=True)
class ExportDetector:
    """A trained detector as an `Exportable`.

    Attributes:
        network: as it was trained.
        images: uint8 images of any size to compare files on.
    """

    network: Detector
    provenance: Provenance
    images: list[np.ndarray]

    batch: ClassVar[int] = 1
    columns: ClassVar[dict] = {
        "largest difference": lambda figures: f"{figures['worst']:.2g} pixels",
        "images": lambda figures: f"{figures['images']}",
    }

    @cached_property
    def whole(self) -> keras.Model:
        """The network with its preprocessing in front: (n, h, w, 3) of 0 to 255."""
        image = keras.Input(self.network.config.canvas, name="image")
        with deep_recursion():
            return keras.Model(
                image, self.network.model(self.network.preprocessing.as_layers(image)), name="detector"
            )

    @cached_property
    def samples(self) -> np.ndarray:
        """The images, each at its size in the upper left corner of a canvas of zeros."""
        return np.stack([fit_to_canvas(image, self.network.config.recipe.resize) for image in self.images])

    def run(self, form: Format, runtime, run_network) -> dict[str, np.ndarray]:
        return runtime.run_batches(self.samples, self.batch, "serving_default")

    def compare(self, expected: dict, outputs: dict) -> dict:
        """Figures: `images`, and `worst`, the largest difference of a box that both found, in pixels.

        Of equal scores either may come first.

        Raises:
            RunError: other counts or classes, or scores that differ by more than the limit.
        """
        worst = 0.0
        for i, count in enumerate(expected["count"]):
            if outputs["count"][i] != count:
                raise RunError(f"it finds {outputs['count'][i]} objects where the network finds {count}")
            boxes, scores, classes = (outputs[key][i, :count] for key in ("boxes", "scores", "classes"))
            known = (expected[key][i, :count] for key in ("boxes", "scores", "classes"))
            for box, score, label in zip(*known, strict=True):
                same = (classes == label) & (np.abs(scores - score) <= MAX_SCORE_DIFFERENCE)
                if not same.any():
                    raise RunError(f"it does not find class {label} with score {score:.3f}, as the network does")
                worst = max(worst, float(np.abs(boxes[same] - box).max(axis=1).min()))
        return {"images": len(expected["count"]), "worst": worst}

    def check(self, form: Format, figures: dict) -> None:
        if figures["worst"] > MAX_SHIFT:
            raise RunError(f"a box differs by {figures['worst']:.2f} pixels; at most {MAX_SHIFT:g} are allowed")

    def record(self) -> dict:
        height, width, _ = self.network.config.canvas
        return {
            "data": self.network.config.data,
            "split": "test",
            "input": {"height": height, "width": width, "range": [0, 255]},
        }

    def summary(self, record: dict) -> str:
        return f"Compared with the Keras network on {len(self.images)} images of {record['data']}, test split."

    def usage(self, files) -> str:
        height, width, _ = self.network.config.canvas
        limit = self.network.model.output["scores"].shape[1]
        return card.fill(USAGE, files, height=height, width=width, limit=limit)


FORMATS = {
    "saved_model": Format("saved_model", "saved_model", lambda m, path: writers.serving_model(m.whole, path)),
    "tflite": Format("model.tflite", "tflite", lambda m, path: path.write_bytes(tflite.convert(m.whole))),
    "keras": Format("model.keras", "keras_cnns", lambda m, path: m.whole.save(path)),
}


def from_run(folder: Path) -> ExportDetector:
    """The detector of a finished run, with images of its test split.

    Raises:
        ValueError: no finished run of a detector, or one that cannot be exported.
    """
    detector, result = trained.from_run(folder), finished_result(folder) or {}
    config, measured = detector.config, result.get("test")
    if None in config.canvas:
        raise ValueError(
            "an exported detector takes images of one size: train with equal resize.shorter and resize.longer, "
            f"got {config.recipe.resize.shorter} and {config.recipe.resize.longer}"
        )
    accuracy = f"AP50 (VOC) {measured['ap50']:.4f} on the test split (n={measured['n']})" if measured else ""
    size = " x ".join(map(str, config.canvas[:2]))
    origin = provenance.from_config(config, config.detector, f"{size} pixels", accuracy or "not measured")
    test = sources.load(config.data, config.images).test
    return ExportDetector(detector, origin, [test.images[i] for i in range(min(IMAGES, len(test)))])
