"""Why a quantized network is less accurate: the layers that lose most in eight bits, and what to try next."""

import keras
import numpy as np

from keras_cnns.surgery import fake_quantization
from training.exporting.tflite import with_native_layers

IMAGES, NAMED = 32, 3


def rank_layers(model: keras.Model, images: np.ndarray) -> list[tuple[str, float, str]]:
    """(layer, noise of rounding as a share of the signal, its range), the worst first."""
    model = with_native_layers(model)
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


def advise(model: keras.Model, images: np.ndarray, file: str, qat_epochs: int) -> str:
    """Names the worst layers and what to try next, for a file that lost too much."""
    worst = ", ".join(
        f"{name} ({span}: noise {noise:.1%})" for name, noise, span in rank_layers(model, images)[:NAMED]
    )
    options = {
        "model_int8.tflite": f"--qat {2 * qat_epochs or 1}, or --quantize int16x8",
        "model_int16x8.tflite": "--quantize float16",
        "model_dynamic.tflite": "--quantize float16",
    }
    return f"eight bits lose most in {worst}; try {options.get(file, '--quantize none')}"
