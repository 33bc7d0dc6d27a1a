"""The formats that a classifier is exported to, as a table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from keras_cnns.errors import unknown
from training.exporting import tflite, writers
from training.exporting.exportable import Exportable


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
