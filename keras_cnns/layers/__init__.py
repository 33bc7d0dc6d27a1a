"""The Keras layers of this package. All else consists of the building blocks in `keras_cnns.blocks`."""

from keras_cnns.layers.batch_normalization import BatchNormalization
from keras_cnns.layers.channels import Cropping2D, PadChannels
from keras_cnns.layers.compactor import Compactor
from keras_cnns.layers.convolution import Conv2D, QuantisedConv2D
from keras_cnns.layers.lenet import RBF, MAPLoss, RBFLoss, SparseConv2D, SubSampling2D, scaled_tanh
from keras_cnns.layers.lrn import LocalResponseNormalization
from keras_cnns.layers.pooling import CeilMaxPooling2D
from keras_cnns.layers.quantized import FakeQuantise, QuantisedDense

__all__ = [
    "RBF",
    "BatchNormalization",
    "CeilMaxPooling2D",
    "Compactor",
    "Conv2D",
    "Cropping2D",
    "FakeQuantise",
    "LocalResponseNormalization",
    "MAPLoss",
    "PadChannels",
    "QuantisedConv2D",
    "QuantisedDense",
    "RBFLoss",
    "SparseConv2D",
    "SubSampling2D",
    "scaled_tanh",
]
