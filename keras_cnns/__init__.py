"""Convolutional image classifiers from LeNet-5 (1998) on, exact, for Keras 3.

>>> import keras_cnns
>>> model = keras_cnns.ResNet20(weights=None)
>>> keras_cnns.measure(model).trainable_params
269722
"""

from keras_cnns.architecture import Architecture, load_model
from keras_cnns.explain.draw import draw
from keras_cnns.explain.endpoints import endpoints, feature_extractor
from keras_cnns.measure import Measure, measure

# LeCun et al. 1998
from keras_cnns.models.lenet import LeNet5, LeNet5Modern

# He et al. 2015: ImageNet, v1.5 and v1, CIFAR, plain
from keras_cnns.models.resnet import (
    Plain18,
    Plain20,
    Plain32,
    Plain34,
    Plain44,
    Plain56,
    Plain110,
    ResNet18,
    ResNet20,
    ResNet32,
    ResNet34,
    ResNet44,
    ResNet50,
    ResNet50V1,
    ResNet56,
    ResNet101,
    ResNet101V1,
    ResNet110,
    ResNet152,
    ResNet152V1,
    ResNet1202,
)

# Zagoruyko & Komodakis 2016
from keras_cnns.models.wide_resnet import (
    WRN16_4,
    WRN16_8,
    WRN22_8,
    WRN28_10,
    WRN40_1,
    WRN40_2,
    WRN40_4,
    WRN40_8,
    WRN40_10,
    WideResNet50_2,
    WideResNet101_2,
)
from keras_cnns.surgery.fully_convolutional import dense_evaluate, fully_convolutional
from keras_cnns.surgery.fuse import fuse, unfoldable
from keras_cnns.surgery.swap import swap
from keras_cnns.version import __version__
from keras_cnns.zoo import create_model, from_json, list_models, to_json

__all__ = [
    "WRN16_4",
    "WRN16_8",
    "WRN22_8",
    "WRN28_10",
    "WRN40_1",
    "WRN40_2",
    "WRN40_4",
    "WRN40_8",
    "WRN40_10",
    "Architecture",
    "LeNet5",
    "LeNet5Modern",
    "Measure",
    "Plain18",
    "Plain20",
    "Plain32",
    "Plain34",
    "Plain44",
    "Plain56",
    "Plain110",
    "ResNet18",
    "ResNet20",
    "ResNet32",
    "ResNet34",
    "ResNet44",
    "ResNet50",
    "ResNet50V1",
    "ResNet56",
    "ResNet101",
    "ResNet101V1",
    "ResNet110",
    "ResNet152",
    "ResNet152V1",
    "ResNet1202",
    "WideResNet50_2",
    "WideResNet101_2",
    "__version__",
    "create_model",
    "dense_evaluate",
    "draw",
    "endpoints",
    "feature_extractor",
    "from_json",
    "fully_convolutional",
    "fuse",
    "list_models",
    "load_model",
    "measure",
    "swap",
    "to_json",
    "unfoldable",
]
