"""Loads weights of a detector: of an ImageNet backbone, detectron2's R101-C4, or a saved detector."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from keras_cnns.deep import deep_recursion
from keras_cnns.guard import check_model_file
from keras_cnns.preprocessing import Preprocessing
from keras_cnns.weights import tensors
from keras_cnns.weights.loading import given
from keras_cnns.weights.tensors import Source

LOG = logging.getLogger("keras_cnns")
# Names that only these files have.
MARKS = {"detector": "rpn_conv", "detectron2": "proposal_generator.rpn_head.conv.weight"}
# Caffe's mean of detectron2's MSRA backbones: blue, green, red.
DETECTRON2 = Preprocessing((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), "bgr")


def suited(detector, weights: str | Path):
    """A `FasterRCNN` whose backbone is adapted to its weights: where it strides, what is subtracted.

    Raises:
        ValueError: no such tag or file.
    """
    kind = _kind(weights)
    if kind == "detector":
        return detector
    if kind == "detectron2":
        return replace(detector, backbone=replace(detector.backbone, preprocessing=DETECTRON2))
    return replace(detector, backbone=detector.backbone.for_weights(weights))


def load(model: keras.Model, detector, weights: str | Path) -> None:
    """Loads weights into a model of a `FasterRCNN`: all of them, or those of its backbone.

    Args:
        weights: a detector's `.keras` or `.weights.h5`; detectron2's state dict of an R101-C4, `.safetensors` or
            `.pth`; or a tag or file of a backbone, "imagenet" for the best.

    Raises:
        ValueError: the weights do not fit.
        ConnectionError: known weights cannot be downloaded.
    """
    kind = _kind(weights)
    if kind == "detector":
        _load_own(model, Path(weights))
    elif kind == "detectron2":
        fill_detectron2(model, tensors.read(Path(weights)))
    else:
        fill_backbone(model, detector, weights)


def fill_backbone(model: keras.Model, detector, weights: str | Path) -> None:
    """Loads the layers that a detector shares with its backbone, by name; the others stay as initialised."""
    arch = detector.backbone
    asked, dense = given(weights, arch.name), hasattr(arch.head, "units")  # the regions use VGG's hidden layers
    classes = asked.classes if dense and asked.path else None
    with deep_recursion():
        whole = arch(include_top=dense, input_shape=arch.input_shape, weights=weights, classes=classes)
    theirs = {layer.name: layer for layer in whole.layers if layer.weights}
    filled = 0
    for layer in [*model.layers, *model.get_layer("regions").layers]:
        if layer.weights and layer.name in theirs:
            layer.set_weights(theirs[layer.name].get_weights())
            filled += 1
    LOG.info("%s: %d layers of the backbone loaded into %s", weights, filled, model.name)


def _load_own(model: keras.Model, path: Path) -> None:
    if path.suffix == ".keras":
        check_model_file(path)
    import warnings

    try:
        with deep_recursion(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipping nested container")  # Keras also raises for missing weights
            model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} does not fit {model.name}: {first}") from error


# --- detectron2 -------------------------------------------------------------------------------------------------

_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_HEADS = {
    "rpn_conv": "proposal_generator.rpn_head.conv",
    "rpn_scores": "proposal_generator.rpn_head.objectness_logits",
    "rpn_deltas": "proposal_generator.rpn_head.anchor_deltas",
    "region_scores": "roi_heads.box_predictor.cls_score",
    "region_deltas": "roi_heads.box_predictor.bbox_pred",
}


def detectron2_name(layer: str) -> str | None:
    """detectron2's name of a layer, or None.

    >>> detectron2_name("stage3_unit2_conv1_norm")
    'backbone.res4.1.conv1.norm'
    """
    if layer in _HEADS:
        return _HEADS[layer]
    name = layer.removesuffix("_norm")
    norm = ".norm" if name != layer else ""
    if name == "stem_conv":
        return f"backbone.stem.conv1{norm}"
    match = re.fullmatch(r"stage(\d)_unit(\d+)_(conv\d|shortcut)", name)
    if not match:
        return None
    stage = int(match[1]) + 1
    where = "roi_heads.res5" if stage == 5 else f"backbone.res{stage}"
    return f"{where}.{int(match[2]) - 1}.{match[3]}{norm}"


def fill_detectron2(model: keras.Model, source: Source) -> None:
    """Loads detectron2's state dict of a C4 network into a detector of bottlenecks, all of it or nothing.

    detectron2 has one score for an anchor, this package two, so the background's weights are zero; detectron2 has
    a region's background last and without a box, this package first and with deltas of zero. The outputs are
    equal.

    Raises:
        ValueError: tensors are missing, left over or of another shape, or have values that are not finite.
    """
    values, used = {}, set()
    for layer in [*model.layers, *model.get_layer("regions").layers]:
        for weight in layer.weights if not isinstance(layer, keras.Model) else ():
            theirs = detectron2_name(layer.name)
            if theirs is None:
                continue  # seeds
            norm = weight.name in _NORM and theirs.endswith(".norm")
            name = f"{theirs}.{_NORM[weight.name] if norm else {'kernel': 'weight', 'bias': 'bias'}[weight.name]}"
            if name not in source.tensors:
                raise ValueError(f"{source.path} does not fit {model.name}: {name} is missing")
            used.add(name)
            x = _ours(layer.name, source.tensors[name].read())
            if x.shape != tuple(weight.shape):
                raise ValueError(f"{source.path}: {name} must have shape {tuple(weight.shape)}, got {x.shape}")
            if not np.isfinite(x).all():
                raise ValueError(f"{source.path}: {name} holds numbers that are not finite")
            values[weight.path, id(weight)] = (weight, x)
    left = sorted(n for n in source.tensors if n not in used and not n.startswith(("pixel_", "anchor_")))
    left = [n for n in left if "cell_anchors" not in n]
    if left:
        raise ValueError(f"{source.path} does not fit {model.name}: {left[0]} is left over ({len(left)} in all)")
    for weight, x in values.values():
        weight.assign(x)
    LOG.info("%s: %d tensors of detectron2 loaded into %s", source.path, len(values), model.name)


def _ours(layer: str, x: np.ndarray) -> np.ndarray:
    """A tensor of detectron2 in this package's order, with the weights of the background."""
    if layer == "rpn_scores":  # (a, ...) -> (2 a, ...): background, object, background, object, ...
        x = np.stack([np.zeros_like(x), x], axis=1).reshape(-1, *x.shape[1:])
    elif layer == "region_scores":
        x = np.concatenate([x[-1:], x[:-1]])
    elif layer == "region_deltas":
        x = np.concatenate([np.zeros_like(x[:4]), x])
    if x.ndim == 4:
        return x.transpose(2, 3, 1, 0)
    return x.T if x.ndim == 2 else x


def _kind(weights: str | Path) -> str:
    """The kind of weights: "detector", "detectron2" or "backbone".

    Raises:
        ValueError: there is no such file, or it cannot be read.
    """
    path = Path(weights)
    if not str(weights).endswith(tensors.ENDINGS):
        return "backbone"
    if not path.is_file():
        raise ValueError(f"no weights file {str(weights)!r}")
    source = tensors.read(path)
    return next((kind for kind, mark in MARKS.items() if mark in {*source.layers, *source.tensors}), "backbone")
