"""Converts weights of `keras.applications` for the networks of this package.

A bias before a batch norm shifts the norm's mean; another epsilon shifts its variance; the depthwise kernels of
its ResNeXt are grouped kernels in another order. All three conversions are exact.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from keras_cnns.blocks.conv import EPSILON
from keras_cnns.weights.names import KERAS_RESNET_V2, KERAS_VGG, Layout
from keras_cnns.weights.tensors import Source, Tensor

THEIR_EPSILON = 1.001e-5
WIDEST = 65_536


def as_ours(source: Source, layout: Layout) -> Source:
    """The file's tensors as those of a network of this package.

    Raises:
        ValueError: a bias is not a vector of at most 65,536 numbers.
    """
    if layout is KERAS_VGG:
        return source
    tensors = dict(source.tensors)
    biases = {name: _vector(source, name) for name in tensors if name.endswith("_conv/bias")}
    if layout is KERAS_RESNET_V2:
        biases.pop("conv1_conv/bias", None)  # followed by zero padding: cannot be moved into a norm
        shifts = _shifts_v2(biases, tensors)
    else:
        shifts = {name.replace("_conv/bias", "_bn/moving_mean"): bias for name, bias in biases.items()}
    for name in biases:
        del tensors[name]
    for name, tensor in tensors.items():
        if name in shifts and shifts[name].shape == tensor.shape:
            tensors[name] = Tensor(tensor.shape, partial(_minus, tensor, shifts[name]))
        elif name.endswith("moving_variance"):
            tensors[name] = Tensor(tensor.shape, partial(_minus, tensor, np.float32(EPSILON - THEIR_EPSILON)))
        elif name.endswith("_2_conv/kernel") and len(tensor.shape) == 4 and tensor.shape[2] > tensor.shape[3]:
            k, _, wide, narrow = tensor.shape
            tensors[name] = Tensor((k, k, narrow, wide), partial(_grouped, tensor))
    return replace(source, tensors=tensors)


def _vector(source: Source, name: str) -> np.ndarray:
    shape = source.tensors[name].shape
    if len(shape) != 1 or shape[0] > WIDEST:
        raise ValueError(f"{source.path}: a bias must be a vector of at most {WIDEST:,}, got {name} {shape}")
    return source.tensors[name].read()


def _shifts_v2(biases: Mapping[str, np.ndarray], tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The amount to subtract from the mean of every norm of the V2 networks.

    The biases of a shortcut and of the last convolutions accumulate in the sum from block to block, until the next
    stage's projection reads it through a norm.
    """
    shifts: dict[str, np.ndarray] = {}
    sum_ = None
    found = (re.match(r"conv(\d+)_block(\d+)_", name) for name in tensors)
    for stage, block in sorted({(int(m[1]), int(m[2])) for m in found if m}):
        place = f"conv{stage}_block{block}"
        if sum_ is not None:
            shifts[f"{place}_preact_bn/moving_mean"] = sum_
        own = [biases[name] for i in (0, 3) if (name := f"{place}_{i}_conv/bias") in biases]
        fresh = f"{place}_0_conv/kernel" in tensors
        sum_ = sum(own) if fresh or sum_ is None else sum_ + sum(own)
    if sum_ is not None:
        shifts["post_bn/moving_mean"] = sum_
    return shifts


def _minus(tensor: Tensor, shift: np.ndarray) -> np.ndarray:
    return tensor.read() - shift


def _grouped(tensor: Tensor) -> np.ndarray:
    """Depthwise (k, k, g c, c'), with sums over each of g groups, -> grouped (k, k, c, g c')."""
    x = tensor.read()
    k, _, wide, narrow = x.shape
    return x.reshape(k, k, wide // narrow, narrow, narrow).transpose(0, 1, 3, 2, 4).reshape(k, k, narrow, wide)
