"""Convolutional image classifiers from LeNet-5 (1998) to RepVGG (2021), exact, for Keras 3.

>>> import keras_cnns
>>> model = keras_cnns.ResNet20(weights=None)
>>> keras_cnns.measure(model).trainable_params
269722
"""

from keras_cnns.architecture import Architecture, load_model
from keras_cnns.explain.draw import draw
from keras_cnns.explain.endpoints import endpoints, feature_extractor
from keras_cnns.measure import Measure, measure

# Krizhevsky et al. 2012, Krizhevsky 2014
from keras_cnns.models.alexnet import AlexNet, AlexNetOWT

# Szegedy et al. 2014, and torchvision's
from keras_cnns.models.googlenet import GoogLeNet, GoogLeNetTV

# LeCun et al. 1998
from keras_cnns.models.lenet import LeNet5, LeNet5Modern

# Lin et al. 2013
from keras_cnns.models.nin import NIN, NINCIFAR

# Ding et al. 2021: the training forms
from keras_cnns.models.repvgg import (
    RepVGGA0,
    RepVGGA1,
    RepVGGA2,
    RepVGGB0,
    RepVGGB1,
    RepVGGB1G2,
    RepVGGB1G4,
    RepVGGB2,
    RepVGGB2G2,
    RepVGGB2G4,
    RepVGGB3,
    RepVGGB3G2,
    RepVGGB3G4,
    RepVGGD2SE,
)

# Zhang et al. 2020
from keras_cnns.models.resnest import (
    ResNeSt14,
    ResNeSt26,
    ResNeSt50,
    ResNeSt50_1s4x24d,
    ResNeSt50_4s2x40d,
    ResNeSt101,
    ResNeSt200,
    ResNeSt269,
)

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

# He et al. 2016
from keras_cnns.models.resnet_v2 import (
    ResNet18V2,
    ResNet34V2,
    ResNet50V2,
    ResNet101V2,
    ResNet110V2,
    ResNet152V2,
    ResNet164V2,
    ResNet200V2,
    ResNet1001V2,
)

# Xie et al. 2016
from keras_cnns.models.resnext import (
    ResNeXt29_8x64d,
    ResNeXt29_16x64d,
    ResNeXt29_32x4d,
    ResNeXt50_32x4d,
    ResNeXt101_32x4d,
    ResNeXt101_32x8d,
    ResNeXt101_64x4d,
)

# Hu et al. 2017
from keras_cnns.models.senet import (
    SEResNet18,
    SEResNet20,
    SEResNet34,
    SEResNet50,
    SEResNet56,
    SEResNet101,
    SEResNet110,
    SEResNet152,
    SEResNeXt50_32x4d,
    SEResNeXt101_32x4d,
)

# Li et al. 2019
from keras_cnns.models.sknet import (
    SKNet26,
    SKNet50,
    SKNet101,
)

# Simonyan & Zisserman 2014: table 1, with batch norm, CIFAR
from keras_cnns.models.vgg import (
    VGG11,
    VGG11BN,
    VGG11CIFAR,
    VGG11LRN,
    VGG13,
    VGG13BN,
    VGG13CIFAR,
    VGG16,
    VGG16BN,
    VGG16C,
    VGG16CIFAR,
    VGG19,
    VGG19BN,
    VGG19CIFAR,
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
from keras_cnns.surgery.stock import stock_layers
from keras_cnns.surgery.swap import swap
from keras_cnns.version import __version__
from keras_cnns.weights.registry import list_weights
from keras_cnns.weights.saving import save_torch_weights
from keras_cnns.zoo import create_model, from_json, list_models, to_json

__all__ = [
    "NIN",
    "NINCIFAR",
    "VGG11",
    "VGG11BN",
    "VGG11CIFAR",
    "VGG11LRN",
    "VGG13",
    "VGG13BN",
    "VGG13CIFAR",
    "VGG16",
    "VGG16BN",
    "VGG16C",
    "VGG16CIFAR",
    "VGG19",
    "VGG19BN",
    "VGG19CIFAR",
    "WRN16_4",
    "WRN16_8",
    "WRN22_8",
    "WRN28_10",
    "WRN40_1",
    "WRN40_2",
    "WRN40_4",
    "WRN40_8",
    "WRN40_10",
    "AlexNet",
    "AlexNetOWT",
    "Architecture",
    "GoogLeNet",
    "GoogLeNetTV",
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
    "RepVGGA0",
    "RepVGGA1",
    "RepVGGA2",
    "RepVGGB0",
    "RepVGGB1",
    "RepVGGB1G2",
    "RepVGGB1G4",
    "RepVGGB2",
    "RepVGGB2G2",
    "RepVGGB2G4",
    "RepVGGB3",
    "RepVGGB3G2",
    "RepVGGB3G4",
    "RepVGGD2SE",
    "ResNeSt14",
    "ResNeSt26",
    "ResNeSt50",
    "ResNeSt50_1s4x24d",
    "ResNeSt50_4s2x40d",
    "ResNeSt101",
    "ResNeSt200",
    "ResNeSt269",
    "ResNeXt29_8x64d",
    "ResNeXt29_16x64d",
    "ResNeXt29_32x4d",
    "ResNeXt50_32x4d",
    "ResNeXt101_32x4d",
    "ResNeXt101_32x8d",
    "ResNeXt101_64x4d",
    "ResNet18",
    "ResNet18V2",
    "ResNet20",
    "ResNet32",
    "ResNet34",
    "ResNet34V2",
    "ResNet44",
    "ResNet50",
    "ResNet50V1",
    "ResNet50V2",
    "ResNet56",
    "ResNet101",
    "ResNet101V1",
    "ResNet101V2",
    "ResNet110",
    "ResNet110V2",
    "ResNet152",
    "ResNet152V1",
    "ResNet152V2",
    "ResNet164V2",
    "ResNet200V2",
    "ResNet1001V2",
    "ResNet1202",
    "SEResNeXt50_32x4d",
    "SEResNeXt101_32x4d",
    "SEResNet18",
    "SEResNet20",
    "SEResNet34",
    "SEResNet50",
    "SEResNet56",
    "SEResNet101",
    "SEResNet110",
    "SEResNet152",
    "SKNet26",
    "SKNet50",
    "SKNet101",
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
    "list_weights",
    "load_model",
    "measure",
    "save_torch_weights",
    "stock_layers",
    "swap",
    "to_json",
    "unfoldable",
]
