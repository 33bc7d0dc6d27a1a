"""What a task gives to be exported, `Exportable`; the formats that a classifier is exported to, as a table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from keras_cnns.errors import unknown
from training.exporting import tflite, writers
from training.exporting.provenance import Provenance


class Exportable(Protocol):
    """A trained model that can be exported: `ExportModel` for classifiers, `ExportDetector` for detectors.

    Attributes:
        network: as it was trained, with `model`, `classes` and `preprocessing`; the files are compared with it.
        provenance: of the weights.
        samples: images that files are compared on, as the files take them, (n, h, w, c).
        batch: how many of these are run at a time.
        columns: of the log and the card's table: title -> function from the figures of a file to its text.
    """

    network: object
    provenance: Provenance
    samples: np.ndarray
    batch: int
    columns: Mapping[str, Callable[[dict], str]]

    def run(self, form, runtime, run_network) -> dict[str, np.ndarray]:
        """The outputs of a file on all samples, from its `Runtime`; also checks its other signatures.

        Args:
            run_network: function from images, as `samples`, to the outputs of `network`.
        """

    def compare(self, expected: dict, outputs: dict) -> dict:
        """The figures of a file for `export.json`, from the outputs of `network` and of the file.

        Raises:
            RunError: they cannot be compared.
        """

    def check(self, form, figures: dict) -> None:
        """Raises RunError for a file that its figures do not allow to publish."""

    def record(self) -> dict:
        """What `export.json` holds of the model and of how it was exported."""

    def summary(self, record: dict) -> str:
        """For the card: what the files were compared on."""

    def usage(self, files: Mapping[str, dict]) -> str:
        """For the card: inputs, outputs, and how to call the files."""


@dataclass(frozen=True)
class Format:
    """A file that other programs run.

    Attributes:
        file: its name in the export's folder.
        runtime: what runs it, a name of `runtime_worker.RUNTIMES`.
        write: writes the file.
        exact: whether it must give the Keras network's outputs up to rounding; otherwise `--max-drop` decides.
        needs_images: whether it can only be written with images to calibrate and measure on.
    """

    file: str
    runtime: str
    write: Callable[[Exportable, Path], None]
    exact: bool = True
    needs_images: bool = False


def _tflite(kind: str) -> Format:
    file = "model.tflite" if kind == "none" else f"model_{kind}.tflite"
    exact, needs_images = kind == "none", kind not in ("none", "float16")
    return Format(file, "tflite", partial(tflite.write, kind), exact, needs_images)


QUANTIZE = {kind: _tflite(kind) for kind in tflite.KINDS}
TO = {
    "saved_model": Format("saved_model", "saved_model", writers.saved_model),
    "tflite": QUANTIZE["none"],
    "keras": Format("model.keras", "keras", writers.keras_file),
    "onnx": Format("model.onnx", "onnx", writers.onnx),
}
FORMATS = {f.file: f for f in (*TO.values(), *QUANTIZE.values())}


def choose(to: str, quantize: str | None = None, known: Mapping[str, Format] = TO) -> tuple[Format, ...]:
    """The formats that `--to` and `--quantize` name, each a list with commas.

    >>> [f.file for f in choose("saved_model,tflite", "none,int8")]
    ['saved_model', 'model.tflite', 'model_int8.tflite']

    Raises:
        ValueError: an unknown name; a quantization without TFLite; ONNX without its packages.
    """
    names, kinds = (dict.fromkeys(n for n in (text or "").split(",") if n) for text in (to, quantize))
    for what, given, all_names in (("format", names, known), ("quantization", kinds, QUANTIZE)):
        for name in given:
            if name not in all_names:
                raise ValueError(unknown(what, name, all_names))
    if not names:
        raise ValueError(f"--to must name at least one of {', '.join(known)}")
    if kinds and "tflite" not in names:
        raise ValueError(f"--quantize is for TFLite: add tflite to --to, got --to {to}")
    if "onnx" in names:
        writers.check_onnx()
    chosen = []
    for name in names:
        chosen += [QUANTIZE[kind] for kind in kinds] if kinds and name == "tflite" else [known[name]]
    return tuple(chosen)
