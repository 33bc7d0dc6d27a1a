"""`card.md`: what an export is and how it is called."""

from training.exporting.export_model import ExportModel
from training.exporting.provenance import Provenance

HEAD = "| file | size | top-1 | drop | agreement | largest difference | latency | against Keras |"


def card(name: str, subject: ExportModel, origin: Provenance, record: dict, advice: list[str]) -> str:
    """The text. `record` is what `export.json` holds; `advice` are sentences about what was left out."""
    network, files = subject.network, record["files"]
    lite = next((f for f in files if f.endswith(".tflite")), None)
    calls = [
        _python_lite(lite) if lite else "",
        _python_saved_model() if "saved_model" in files else "",
        _python_keras(network) if "model.keras" in files else "",
        _phones(lite, network) if lite else "",
    ]
    first, pre = ("RGB" if network.channels == 3 else "grey"), network.preprocessing
    mean, std = (", ".join(f"{v:g}" for v in values) for values in (pre.mean, pre.std))
    order = pre.order.upper() if network.channels == 3 else "grey"
    sections = [
        f"# {name}",
        f"{origin.citation}\n\n- Trained: {origin.training}.\n"
        f"- Accuracy of the Keras network: {origin.measured}.\n"
        f"- Classes: {len(network.classes)}, in `labels.txt`, one a line in the order of the outputs.\n"
        f"- Licence of the weights: {origin.licence}.\n- Weights, sha256: `{record['weights_sha256']}`.",
        "## Files\n\n" + table(files) + "\n\n" + _measured_on(record) + "".join(f"\n\n{line}" for line in advice),
        "## What goes in, what comes out\n\n"
        f"In: {network.size}x{network.size} pixels, {first}, values from 0 to 255, channels last. Nothing is to "
        f"be subtracted or divided: that is done inside, ({order} - ({mean})) / ({std}). {_view(subject)} "
        "`model_int8.tflite` takes and gives bytes; its scales are in the file.\n\n"
        "Out: one probability a class.",
        "## How to call it\n\n" + "\n\n".join(filter(None, calls)),
    ]
    return "\n\n".join(sections) + "\n"


def table(files: dict[str, dict]) -> str:
    """The measurements as a table."""
    lines = [HEAD, "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for name, f in files.items():
        top1 = "unmeasured" if f["top1"] is None else f"{f['top1']:.4f}"
        drop = "" if f["drop"] is None else f"{f['drop']:+.4f} ± {f['drop_standard_error']:.4f}"
        lines.append(
            f"| `{name}` | {f['bytes'] / 1e6:.2f} MB | {top1} | {drop} | {f['agreement']:.4f} "
            f"| {f['largest_difference']:.2g} | {f['latency_ms']:.2f} ms | {f['speed']:.2f} times |"
        )
    return "\n".join(lines)


def _measured_on(record: dict) -> str:
    one = next(iter(record["files"].values()))
    threads = f"{one['threads']} thread{'s' if one['threads'] > 1 else ''}"
    about = f"Latency: one image on {threads} of {record['machine']['cpu']}"
    if one["top1"] is None:
        return f"Accuracy: unmeasured, since no data came; compared on {one['n']} random images. {about}."
    return (
        f"Measured on {one['n']} images of {record['data']}, {record['split']} split, where the Keras network has "
        f"top-1 {one['keras_top1']:.4f}. Drop: absolute, ± its standard error. {about}."
    )


def _view(subject: ExportModel) -> str:
    side, crop = subject.shorter_side, subject.network.crop
    how = "" if isinstance(crop, float) else f" ({crop.interpolation})"
    return f"An image is resized to {side} by its shorter side{how} and its middle is cropped."


def _python_lite(file: str) -> str:
    return f"""Python, with `pip install ai-edge-litert numpy pillow` (whole: `docs/mobile/classify.py`):

```python
from ai_edge_litert.interpreter import Interpreter

model = Interpreter("{file}")
model.allocate_tensors()
entry, end = model.get_input_details()[0], model.get_output_details()[0]
model.set_tensor(entry["index"], pixels)  # {"uint8" if _bytes(file) else "float32"} of shape entry["shape"]
model.invoke()
scores = model.get_tensor(end["index"])[0]
```"""


def _python_saved_model() -> str:
    return """Python, with `pip install tensorflow` (for servers see `docs/serving.md`):

```python
import tensorflow as tf

model = tf.saved_model.load("saved_model")
model.signatures["images"](images=tf.constant(photos))["probabilities"]  # uint8 (n, any, any, 3)
model.signatures["jpegs"](jpegs=tf.constant([open("photo.jpg", "rb").read()]))["probabilities"]
model.signatures["tensor"](tensor=preprocessed)["probabilities"]  # float32, what the network itself takes
```"""


def _python_keras(network) -> str:
    return f"""Keras, without this package:

```python
import keras

model = keras.models.load_model("model.keras")
model.predict(pixels)  # float32 (n, {network.size}, {network.size}, {network.channels}) of 0 to 255
```"""


def _bytes(file: str) -> bool:
    """Whether a TFLite file takes and gives bytes."""
    return file == "model_int8.tflite"


def _phones(file: str, network) -> str:
    count, side = network.size**2 * network.channels, network.size
    size, array, swift, kind = (
        (count, "ByteArray", "UInt8", "uint8_t") if _bytes(file) else (4 * count, "FloatArray", "Float32", "float")
    )
    stem = file.removesuffix(".tflite")
    return f"""Android (Kotlin, `com.google.ai.edge.litert:litert`; whole: `docs/mobile/Classifier.kt`):

```kotlin
val model = Interpreter(modelFile)  // a File or mapped ByteBuffer of {file}
val pixels = ByteBuffer.allocateDirect({size}).order(ByteOrder.nativeOrder())  // {side} rows of {side} pixels
val scores = arrayOf({array}({len(network.classes)}))
model.run(pixels, scores)
```

iOS (Swift, `TensorFlowLiteSwift`; whole: `docs/mobile/Classifier.swift`):

```swift
let model = try Interpreter(modelPath: Bundle.main.path(forResource: "{stem}", ofType: "tflite")!)
try model.allocateTensors()
try model.copy(pixels, toInputAt: 0)  // Data of {count} {swift}
try model.invoke()
let scores = try model.output(at: 0).data
```

C++ (LiteRT):

```cpp
auto file = tflite::FlatBufferModel::BuildFromFile("{file}");
tflite::ops::builtin::BuiltinOpResolver operations;
std::unique_ptr<tflite::Interpreter> model;
tflite::InterpreterBuilder(*file, operations)(&model);
model->AllocateTensors();
std::copy(pixels, pixels + {count}, model->typed_input_tensor<{kind}>(0));
model->Invoke();
const {kind}* scores = model->typed_output_tensor<{kind}>(0);
```"""
