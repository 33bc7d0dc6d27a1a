"""Xie, Girshick, Dollar, Tu & He (2016): Aggregated Residual Transformations for Deep Networks. arXiv 1611.05431.

A bottleneck of many equal paths. Name CxDd: C paths (the cardinality) of D channels in the first stage. Figure 3
has three forms of the same function: (a) separate branches, summed; (b) branches concatenated before the last 1x1;
(c) one grouped convolution, as in the networks here. `carry_weights` converts a trained network between the forms.
"""

import re
from collections import defaultdict
from dataclasses import replace

import keras
import numpy as np

from keras_cnns.architecture import Architecture
from keras_cnns.blocks import Bottleneck, Conv3x3, EarlyConcatenation, SeparateBranches, Staged, Stem3x3
from keras_cnns.models.resnet import RESNET50, RESNET101, cifar, imagenet

PAPER = "Xie et al. 2016, Aggregated Residual Transformations for Deep Neural Networks, arXiv 1611.05431"


def bottleneck(cardinality: int, width: int) -> Bottleneck:
    """Form (c): the 3x3 has `cardinality` groups, each of `width` channels in a unit of width 64."""
    return Bottleneck(Conv3x3(groups=cardinality), inner=cardinality * width / 64)


def branches(unit: Bottleneck) -> SeparateBranches:
    """Form (a) of a unit of form (c)."""
    return SeparateBranches(unit.spatial.groups, unit.inner, unit.gate, unit.shortcut, unit.expansion)


def concatenation(unit: Bottleneck) -> EarlyConcatenation:
    """Form (b) of a unit of form (c)."""
    return EarlyConcatenation(unit.spatial.groups, unit.inner, unit.gate, unit.shortcut, unit.expansion)


# --- ImageNet (table 1, section 5.1) ----------------------------------------------------------------------------

RESNEXT50 = replace(RESNET50, unit=bottleneck(32, 4))
RESNEXT101 = replace(RESNET101, unit=bottleneck(32, 4))

ResNeXt50_32x4d = imagenet("resnext50_32x4d", RESNEXT50, f"ResNeXt-50 32x4d, table 1 of {PAPER}.")
ResNeXt101_32x4d = imagenet("resnext101_32x4d", RESNEXT101, f"ResNeXt-101 32x4d, table 3 of {PAPER}.")
ResNeXt101_32x8d = imagenet(
    "resnext101_32x8d",
    replace(RESNEXT101, unit=bottleneck(32, 8)),
    f"ResNeXt-101 32x8d after {PAPER}; torchvision.",
)
ResNeXt101_64x4d = imagenet(
    "resnext101_64x4d", replace(RESNEXT101, unit=bottleneck(64, 4)), f"ResNeXt-101 64x4d, table 4 of {PAPER}."
)

# --- CIFAR (section 5.3): 29 = 9 * 3 + 2 layers. Post-activation, as the authors' repository recommends ---------

RESNEXT29 = Staged((3, 3, 3), bottleneck(8, 64), (64, 128, 256), Stem3x3(64))


def _resnext29(cardinality: int, width: int) -> Architecture:
    row = replace(RESNEXT29, unit=bottleneck(cardinality, width))
    citation = f"ResNeXt-29 {cardinality}x{width}d for CIFAR, section 5.3 of {PAPER}."
    return cifar(f"resnext29_{cardinality}x{width}d", row, citation)


ResNeXt29_8x64d = _resnext29(8, 64)
ResNeXt29_16x64d = _resnext29(16, 64)
ResNeXt29_32x4d = _resnext29(32, 4)


# --- converting the forms -------------------------------------------------------------------------------------

BRANCH = re.compile(r"(.+)_branch(\d+)(_conv[123].*)")


def carry_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of `source` to `target`: the same network, each in any of the forms (a), (b), (c).

    The grouped kernel is the concatenation of the branches' kernels along the outputs; for the last 1x1 of form
    (a) along the inputs.

    Raises:
        ValueError: they are not forms of the same network.
    """
    weights = {name: _joined(layers) for name, layers in _by_place(source).items()}
    places = _by_place(target)
    if weights.keys() != places.keys():
        odd = sorted(weights.keys() ^ places.keys())[0]
        raise ValueError(f"{source.name} and {target.name} are not forms of one network: only one has {odd!r}")
    pieces = {
        name: [np.split(w, len(layers), axis=_axis(name, w)) for w in weights[name]]
        for name, layers in places.items()
        if all(w.shape[_axis(name, w)] % len(layers) == 0 for w in weights[name])
    }
    for name, layers in places.items():
        for i, layer in enumerate(layers):
            new = [p[i] for p in pieces.get(name, ())]
            if [w.shape for w in new] != [w.shape for w in layer.weights]:
                shapes = [w.shape for w in weights[name]]
                raise ValueError(f"{target.name}: the weights {shapes} of {name!r} do not fit {layer.name!r}")
    for name, layers in places.items():
        for i, layer in enumerate(layers):
            layer.set_weights([p[i] for p in pieces[name]])


def _by_place(model: keras.Model) -> dict[str, list]:
    """Name in form (c) -> the layers that together are that layer, in the order of the branches."""
    found = defaultdict(dict)
    for layer in model.layers:
        if layer.weights:
            match = BRANCH.fullmatch(layer.name)
            name, branch = (match[1] + match[3], int(match[2])) if match else (layer.name, 0)
            found[name][branch] = layer
    return {name: [layers[i] for i in sorted(layers)] for name, layers in found.items()}


def _axis(name: str, weight) -> int:
    """The axis along which the branches of a weight are concatenated."""
    return -2 if name.endswith("_conv3") and weight.ndim == 4 else -1


def _joined(layers: list) -> list[np.ndarray]:
    """The weights of the branches as those of the single layer of form (c)."""
    name = BRANCH.sub(r"\1\3", layers[0].name)
    columns = zip(*(layer.get_weights() for layer in layers), strict=True)
    return [np.concatenate(parts, axis=_axis(name, parts[0])) for parts in columns]
