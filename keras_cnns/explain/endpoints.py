"""Endpoints of a network, where features are extracted, by the papers' names; found by layer names alone.

So they exist in a loaded, fused or fine-tuned model as in a new one.
"""

import re
from collections.abc import Iterable

import keras

from keras_cnns import graph
from keras_cnns.deep import deep_recursion
from keras_cnns.errors import unknown

# Pattern of layer names -> endpoints; an endpoint is the output of its last layer. The first match counts.
RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"stem_pool.*", ("stem",)),
    (r"stem_.*", ("conv1", "stem")),
    (r"stage\d+_(pool|lrn|drop|dropout)\d*", ()),  # VGG: a stage ends before its pool
    (r"stage(\d+)_.*", (r"stage\1",)),
    (r"finish_.*", ("last stage",)),  # pre-activation networks: the last stage ends with the last norm and ReLU
    (r"(inception_\d[a-z])(_.*)?", (r"\1",)),  # GoogLeNet
    (r"(conv\d+)(_(norm|relu|act|towers?|join|concat).*)?", (r"\1",)),  # AlexNet: before LRN and pool
    (r"(mlpconv\d+)_(?!pool|drop).*", (r"\1",)),  # Network in Network
    (r"([cs]\d|f6)(_tanh)?", (r"\1",)),  # LeNet-5: C1, S2, C3, S4, C5, F6
    # keras.applications: conv1_conv ... conv5_block3_out and block1_conv1 ... block5_conv3
    (r"conv1_(bn|conv|relu)", ("conv1", "stem")),
    (r"pool1_pool", ("stem",)),
    (r"conv([2-5])_block\d+_.*", ("keras stage",)),
    (r"block(\d)_conv\d", (r"stage\1",)),
)
ALIAS = re.compile(r"conv(\d+)_x")  # the papers' tables count the stem as conv1


def endpoints(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Endpoints of a model, in order: name -> symbolic tensor of `model`.

    "conv1" (the stem before its pool), "stem" (after it), "stage1", "stage2", ... (the last tensor before the next
    downsampling; in VGG before each pool); GoogLeNet's "inception_3a" to "inception_5b", AlexNet's "conv1" to
    "conv5", LeNet-5's "C1" to "F6". A network with other layer names has no endpoints.

    Example:

    >>> import keras_cnns
    >>> list(endpoints(keras_cnns.ResNet20()))
    ['conv1', 'stem', 'stage1', 'stage2', 'stage3']
    >>> list(endpoints(keras_cnns.LeNet5()))
    ['C1', 'S2', 'C3', 'S4', 'C5', 'F6']
    """
    nodes, tensors = graph.trace(model)
    found: dict[str, keras.KerasTensor] = {}
    for node in nodes:
        for name in _names(node.layer.name, found):
            found[name] = tensors[node.outputs[0]]
    return found


def _names(layer: str, found: dict) -> list[str]:
    for pattern, templates in RULES:
        match = re.fullmatch(pattern, layer)
        if match:
            return [name for t in templates for name in _expand(match, t, found)]
    return []


def _expand(match: re.Match, template: str, found: dict) -> list[str]:
    if template == "last stage":
        return [name for name in found if name.startswith("stage")][-1:]
    if template == "keras stage":
        return [f"stage{int(match[1]) - 1}"]
    name = match.expand(template)
    return [name.upper() if re.fullmatch(r"[csf]\d", name) else name]


def feature_extractor(model: keras.Model, names: str | Iterable[str]) -> keras.Model:
    """A model with the same inputs and layers as `model` that outputs features by name, {name: (n, h, w, c)}.

    Args:
        model: any model with a graph.
        names: names of `endpoints`, in upper or lower case; "conv2_x" for "stage1" (and so on), as in the papers;
            "3a" for "inception_3a"; or names of layers. The outputs have the names given here.

    Raises:
        ValueError: no such endpoint or layer; the message suggests the nearest.

    Example:

    >>> import keras_cnns
    >>> features = feature_extractor(keras_cnns.ResNet20(), ["conv1", "conv4_x"])
    >>> {name: tuple(x.shape) for name, x in features.output.items()}
    {'conv1': (None, 32, 32, 16), 'conv4_x': (None, 8, 8, 64)}
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError("names must have at least one endpoint, got none")
    known = endpoints(model)
    with deep_recursion():
        outputs = {name: _find(model, str(name), known) for name in names}
        return keras.Model(graph.entry(model), outputs, name=f"{model.name}_features")


def _find(model: keras.Model, name: str, known: dict):
    folded = {key.lower(): tensor for key, tensor in known.items()}
    paper = ALIAS.fullmatch(name.lower())
    for candidate in (name.lower(), f"inception_{name.lower()}", f"stage{int(paper[1]) - 1}" if paper else ""):
        if candidate in folded:
            return folded[candidate]
    nodes, tensors = graph.trace(model)
    for node in nodes:
        if node.layer.name == name:
            return tensors[node.outputs[0]]
    raise ValueError(unknown("endpoint", name, known))
