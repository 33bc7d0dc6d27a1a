"""Saves weights for PyTorch: `.safetensors` in the layout of torchvision and timm."""

import hashlib
import json
import os
import secrets
from pathlib import Path

import keras
import numpy as np

from keras_cnns.weights.matching import ours_to_torch, slots
from keras_cnns.weights.names import TORCH_LAYOUTS

ARCHITECTURE = "architecture"
STRUCTURE = "structure"
# Layers that depend on the input size, the classifier and the preprocessing.
LOOSE = (
    keras.layers.InputLayer,
    keras.layers.Dropout,
    keras.layers.Rescaling,
    keras.layers.AdaptiveAveragePooling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
)


def save_torch_weights(model: keras.Model, path: str | Path) -> None:
    """Writes a network's weights as `.safetensors` in the layout of torchvision or timm.

    torchvision's or timm's network of the same architecture loads them by `load_state_dict(load_file(path))`, and
    this package's by `weights=path`. The metadata has the model's name (by default the architecture's) and a
    fingerprint of its layers, so that another architecture rejects the file.

    Raises:
        ValueError: the path does not end in .safetensors, or no PyTorch library has a network of these layers
            (LeNet, NIN, a fused network).
    """
    from safetensors.numpy import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {str(path)!r}")
    named = next(((la, found) for la in TORCH_LAYOUTS if (found := slots(model, la)) is not None), None)
    if named is None:
        raise ValueError(f"no PyTorch library has a network of the layers of {model.name!r}")
    tensors = {}
    for slot in named[1]:
        x = ours_to_torch(slot, keras.ops.convert_to_numpy(slot.weight))
        pointwise = slot.layer in named[0].pointwise and x.ndim == 2
        tensors[slot.theirs] = np.ascontiguousarray(x[:, :, None, None] if pointwise else x)
    metadata = {"format": "pt", ARCHITECTURE: model.name, STRUCTURE: structure(model)}
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        save_file(tensors, part, metadata)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def structure(model: keras.Model) -> str:
    """A fingerprint of what weights do not show: the layers, and how they stride and pool."""
    facts = [
        [layer.name, *[getattr(layer, key, None) for key in ("strides", "padding", "pool_size", "dilation_rate")]]
        for layer in model.layers
        if not isinstance(layer, LOOSE) and not layer.name.startswith("aux") and len(layer.output.shape) == 4
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
