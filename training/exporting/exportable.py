"""What the exporter needs of a model; `ExportModel` gives it for classifiers, `ExportDetector` for detectors."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from training.exporting.provenance import Provenance


class Exportable(Protocol):
    """A trained model that can be exported.

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
