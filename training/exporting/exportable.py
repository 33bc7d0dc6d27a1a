"""What the exporter needs of a model; `ExportModel` gives it for classifiers, `ExportDetector` for detectors."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import keras
import numpy as np

from training.exporting.provenance import Provenance


class Exportable(Protocol):
    """A trained model that can be exported.

    Attributes:
        trained: the model as it was trained; the files are compared with it.
        classes: names, in the order of the outputs.
        provenance: of the weights.
        samples: images that files are compared on, as the files take them, (n, h, w, c).
        batch: of these, how many are run at a time.
        columns: of the card's table: title -> function from the figures of a file to the text of its cell.
    """

    trained: keras.Model
    classes: tuple[str, ...]
    provenance: Provenance
    samples: np.ndarray
    batch: int
    columns: Mapping[str, Callable[[dict], str]]

    def preprocess(self, images):
        """A batch of `samples` as `trained` takes it."""

    def write(self, form, path: Path, say: Callable[[str], None]) -> None:
        """Writes the file of a `Format`."""

    def run(self, form, runtime, run_trained) -> dict[str, np.ndarray]:
        """The outputs of a file, loaded by a `Runtime`, on all samples; also checks its other signatures.

        Args:
            run_trained: function from images, as `samples`, to the trained model's outputs.
        """

    def compare(self, expected: dict, outputs: dict) -> dict:
        """The figures of a file for `export.json`, from the outputs of the trained model and of the file.

        Raises:
            RunError: they cannot be compared.
        """

    def check(self, form, figures: dict) -> None:
        """Raises RunError for a file whose figures are too bad to publish it."""

    def describe(self, figures: dict) -> str:
        """The figures in one line for the log."""

    def record(self) -> dict:
        """What `export.json` holds of the model and of how it was exported."""

    def summary(self, record: dict) -> str:
        """For the card: what the files were compared on."""

    def usage(self, files: Mapping[str, dict]) -> str:
        """For the card: inputs, outputs, and how to call the files."""
