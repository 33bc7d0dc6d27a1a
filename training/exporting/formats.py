"""What can be exported: a table."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_cnns.errors import unknown
from training.exporting import tflite, writers

# What a sum in another order may change in a probability; more means that something else was computed.
EXACT = 1e-4


@dataclass(frozen=True)
class Format:
    """A file that other programs run.

    Attributes:
        file: its name in the export's folder.
        runtime: what runs it, a name that `worker.py` knows.
        write: (subject, path, calibration images) -> None; the last may be None for those that need none.
        largest: difference of a probability from the Keras network's that is still rounding; None where it is
            not, and `--max-drop` decides.
        needs: what must be there to write it, "" for nothing: "images" to calibrate and measure on.
    """

    file: str
    runtime: str
    write: Callable
    largest: float | None = EXACT
    needs: str = ""


QUANTIZE = {
    "none": Format("model.tflite", "tflite", tflite.Plain()),
    "float16": Format("model_float16.tflite", "tflite", tflite.Float16(), largest=None),
    "dynamic": Format("model_dynamic.tflite", "tflite", tflite.Dynamic(), largest=None, needs="images"),
    "int8": Format("model_int8.tflite", "tflite", tflite.Int8(), largest=None, needs="images"),
    "int16x8": Format("model_int16x8.tflite", "tflite", tflite.Int16x8(), largest=None, needs="images"),
}
TO = {
    "saved_model": Format("saved_model", "saved_model", writers.saved_model),
    "tflite": QUANTIZE["none"],
    "keras": Format("model.keras", "keras", writers.keras_file),
    "onnx": Format("model.onnx", "onnx", writers.onnx),
}
FORMATS = {f.file: f for f in (*TO.values(), *QUANTIZE.values())}


def choose(to: str, quantize: str | None) -> tuple[Format, ...]:
    """The formats that `--to` and `--quantize` name, each a list with commas.

    >>> [f.file for f in choose("saved_model,tflite", "none,int8")]
    ['saved_model', 'model.tflite', 'model_int8.tflite']

    Raises:
        ValueError: an unknown name; a quantisation without TFLite; ONNX without its packages.
    """
    names, kinds = (dict.fromkeys(n for n in (text or "").split(",") if n) for text in (to, quantize))
    for what, given, known in (("format", names, TO), ("quantisation", kinds, QUANTIZE)):
        for name in given:
            if name not in known:
                raise ValueError(unknown(what, name, known))
    if not names:
        raise ValueError(f"--to wants at least one of {', '.join(TO)}")
    if kinds and "tflite" not in names:
        raise ValueError(f"--quantize is for TFLite; --to {to} came without tflite")
    if "onnx" in names:
        writers.check_onnx()
    found = []
    for name in names:
        found += [QUANTIZE[kind] for kind in kinds or ("none",)] if name == "tflite" else [TO[name]]
    return tuple(found)
