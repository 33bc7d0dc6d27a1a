"""Registry of all architectures by command-line name, collected from the modules of `keras_cnns.models`."""

import fnmatch

import keras

from keras_cnns import blocks, values
from keras_cnns.architecture import Architecture
from keras_cnns.errors import unknown
from keras_cnns.models import (
    alexnet,
    googlenet,
    lenet,
    nin,
    repvgg,
    resnest,
    resnet,
    resnet_v2,
    resnext,
    resrep,
    senet,
    sknet,
    vgg,
    wide_resnet,
)
from keras_cnns.preprocessing import Preprocessing
from keras_cnns.surgery import edited_row

EARLY = (lenet, alexnet, nin, vgg, googlenet)
PAPERS = (*EARLY, resnet, resnet_v2, wide_resnet, resnext, senet, sknet, resnest, repvgg, resrep)

ARCHITECTURES: dict[str, Architecture] = {
    value.name: value for paper in PAPERS for value in vars(paper).values() if isinstance(value, Architecture)
}

# All types and functions that a JSON file may name.
PARTS = {
    **blocks.PARTS,
    **{name: part for paper in PAPERS for name, part in getattr(paper, "PARTS", {}).items()},
    **edited_row.PARTS,
    **values.by_name((Architecture, Preprocessing)),
}


def list_models(pattern: str | None = None) -> list[str]:
    """Sorted names of all architectures; `pattern` filters with shell wildcards.

    >>> list_models("resnet1*_v1")
    ['resnet101_v1', 'resnet152_v1']
    """
    return sorted(fnmatch.filter(ARCHITECTURES, "*" if pattern is None else pattern))


def architecture(name: str) -> Architecture:
    """The architecture with that command-line name.

    Raises:
        ValueError: an unknown name; the message suggests the nearest.
    """
    if name not in ARCHITECTURES:
        raise ValueError(unknown("architecture", name, ARCHITECTURES, "keras_cnns.list_models()"))
    return ARCHITECTURES[name]


def create_model(
    name: str,
    /,
    include_top: bool = True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=None,
    classifier_activation="softmax",
    **options,
) -> keras.Model:
    """Builds a network by its command-line name; the arguments are those of `Architecture.__call__`.

    The first argument is positional only, so that `name=` is the name of the model.

    >>> create_model("lenet5").output_shape
    (None, 10)
    """
    return architecture(name)(
        include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, **options
    )


def to_json(value) -> str:
    """An architecture, row or part as JSON text."""
    return values.to_json(value)


def from_json(text: str):
    """The architecture, row or part that `to_json` wrote. Builds only parts of this package.

    >>> from keras_cnns.models.resnet import ResNet50
    >>> from_json(to_json(ResNet50)) == ResNet50
    True
    """
    return values.from_json(text, PARTS)
