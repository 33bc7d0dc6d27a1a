"""Faster R-CNN: object detection in two stages, on the networks of the zoo.

>>> from dataclasses import replace
>>> import keras_cnns
>>> from keras_cnns.detection import Anchors, FasterRCNNResNet101
>>> small = replace(FasterRCNNResNet101, backbone=keras_cnns.ResNet18, anchors=Anchors((32, 64)))
>>> model = small(classes=3, input_shape=(64, 96, 3))
>>> {name: tensor.shape for name, tensor in model.output.items()}["boxes"]
(None, 100, 4)
"""

from keras_cnns.detection.anchors import Anchors, RoundedAnchors
from keras_cnns.detection.layers import LOSSES, Detections, Proposals
from keras_cnns.detection.network import (
    Detectron2ResNet101C4,
    FasterRCNN,
    FasterRCNNResNet101,
    FasterRCNNVGG16,
)
from keras_cnns.detection.roi import RoIAlign, RoIPool
from keras_cnns.detection.targets import AnchorLot, RegionLot

__all__ = [
    "LOSSES",
    "AnchorLot",
    "Anchors",
    "Detections",
    "Detectron2ResNet101C4",
    "FasterRCNN",
    "FasterRCNNResNet101",
    "FasterRCNNVGG16",
    "Proposals",
    "RegionLot",
    "RoIAlign",
    "RoIPool",
    "RoundedAnchors",
]
