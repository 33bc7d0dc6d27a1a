"""Loud channels made quieter and quiet ones louder, without changing what the network computes.

Nagel, van Baalen, Blankevoort & Welling (2019): Data-Free Quantization Through Weight Equalization and Bias
Correction, arXiv 1906.04721, section 4.1. What a convolution puts out may be divided by s, channel by channel, if
the next multiplies by s: ReLU, padding and pooling in between let positive factors through. In eight bits one loud
channel takes the steps of all others.
"""

import keras
import numpy as np
from keras import layers as stock

from keras_cnns.deep import deep_recursion
from keras_cnns.surgery.draft import Draft, Step
from keras_cnns.surgery.linear import CHANNELWISE, CONVOLUTIONS, GLOBAL_POOLING, weights_of

LETS_THROUGH = (*CHANNELWISE, *GLOBAL_POOLING, stock.Identity)


def equalise(model: keras.Model, images: np.ndarray, batch: int = 8) -> keras.Model:
    """A copy with the same outputs in which the channels between two convolutions are about equally loud.

    Applies where the output of a convolution goes, through ReLU, padding or pooling, to one other convolution or
    dense layer and nowhere else: all of a deployed RepVGG, the inside of residual units. s makes the largest
    output of a channel as large as the largest weight that reads it.

    Args:
        model: an inference form (`fuse`).
        images: to see how loud channels are, as the model takes them.
    """
    draft = Draft(model)
    pairs = [(s, *found) for s in draft.steps() if _scales(draft, s) and (found := _reader(draft, s))]
    if not pairs:
        return draft.build()
    with deep_recursion():
        probe = keras.Model(model.inputs, [model.get_layer(last.name).output for _, last, _ in pairs])
    loudest = [0.0] * len(pairs)
    for start in range(0, len(images), batch):
        out = keras.tree.flatten(probe.predict_on_batch(images[start : start + batch]))
        peaks = [np.abs(o).max(axis=tuple(range(o.ndim - 1))) for o in out]
        loudest = [np.maximum(a, b) for a, b in zip(loudest, peaks, strict=True)]
    for (step, _, reader), loud in zip(pairs, loudest, strict=True):
        _even_out(step, reader, loud)
    return draft.build()


def _scales(draft: Draft, step: Step) -> bool:
    linear = step.kind in CONVOLUTIONS and step.layer.activation is keras.activations.linear
    return linear and draft.called_once(step) and step.layer.data_format == "channels_last"


def _reader(draft: Draft, step: Step) -> tuple[Step, Step] | None:
    """(the last step before it, the one convolution or dense layer that reads what the step puts out)."""
    while True:
        (out,) = step.outputs
        if draft.uses(out) != 1 or not draft.readers[out]:
            return None
        (reader,) = draft.readers[out]
        if not draft.called_once(reader):
            return None
        if reader.kind in CONVOLUTIONS or (reader.kind is stock.Dense and len(draft.shapes[out]) == 2):
            return step, reader
        relu = reader.kind is stock.Activation and reader.layer.activation is keras.activations.relu
        capped = reader.kind is stock.ReLU and (reader.layer.max_value is not None or reader.layer.threshold)
        if capped or not (relu or reader.kind in LETS_THROUGH):
            return None
        step = reader


def _even_out(step: Step, reader: Step, loud: np.ndarray) -> None:
    kernel, bias = weights_of(step, "kernel", "bias")
    reading, offset = weights_of(reader, "kernel", "bias")
    # (..., inputs of a group, groups, filters of a group): input c is number c % width of group c // width.
    width = reading.shape[-2]
    groups = len(loud) // width
    parts = reading.reshape(*reading.shape[:-1], groups, -1)
    heard = np.abs(parts).max(axis=(*range(parts.ndim - 3), -1)).T.reshape(-1)
    known = (loud > 0) & (heard > 0)
    s = np.where(known, np.sqrt(np.where(known, loud, 1) / np.where(known, heard, 1)), 1.0)
    s /= np.exp(np.log(s).mean())
    step.weights = {"kernel": kernel / s, **({"bias": bias / s} if step.config["use_bias"] else {})}
    parts = parts * s.reshape(groups, width).T[:, :, None]
    reader.weights = {
        "kernel": parts.reshape(reading.shape),
        **({"bias": offset} if reader.config["use_bias"] else {}),
    }
