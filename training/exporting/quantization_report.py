"""Why a quantised network is worse: the layers that eight bits hurt most, and what to try next."""

import keras
import numpy as np

from keras_cnns import stock_layers
from keras_cnns.surgery import fake_quantization
from training.exporting import tflite
from training.exporting.export_model import ExportModel

IMAGES, NAMED = 32, 3


def layers(subject: ExportModel, images: np.ndarray) -> list[tuple[str, float, str]]:
    """(layer, noise of rounding as a share of the signal, its range), the worst first."""
    model = stock_layers(subject.whole, but=tflite.NATIVE)
    found = [
        (name, s.noise, f"{s.low:.3g} to {s.high:.3g}")
        for name, s in fake_quantization.calibrate(model, images[:IMAGES].astype("float32")).items()
    ]
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            flat = np.abs(kernel.reshape(-1, kernel.shape[-1]))
            noise = flat.max(axis=0) / 127 / np.sqrt(12) / np.maximum(np.sqrt((flat**2).mean(axis=0)), 1e-12)
            found.append((f"{layer.name}'s kernel", float(noise.mean()), f"up to {flat.max():.3g}"))
    return sorted(found, key=lambda one: -one[1])


def advice(subject: ExportModel, images: np.ndarray, file: str, fine_tuned: int) -> str:
    """Names the layers, and the next thing to try, for a file that lost too much."""
    hurt = ", ".join(
        f"{name} ({span}: noise {noise:.1%})" for name, noise, span in layers(subject, images)[:NAMED]
    )
    tune = f"--fine-tune {2 * fine_tuned or 1}"
    nexts = {
        "model_int8.tflite": f"{tune}, or --quantize int16x8",
        "model_int16x8.tflite": "--quantize float16",
        "model_dynamic.tflite": "--quantize float16",
    }
    return f"eight bits hurt most in {hurt}; try {nexts.get(file, '--quantize none')}"
