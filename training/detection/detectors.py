"""Builds the detector of `--backbone`, with the settings of the paper or of small scenes."""

from dataclasses import replace

import keras

from keras_cnns import zoo
from keras_cnns.blocks import Basic, DenseHead, Staged, Stem7x7
from keras_cnns.detection import (
    AnchorLot,
    Anchors,
    Detections,
    FasterRCNN,
    FasterRCNNResNet101,
    FasterRCNNVGG16,
    Proposals,
    RegionLot,
    RoIAlign,
)
from keras_cnns.detection.network import split
from keras_cnns.errors import unknown
from keras_cnns.models.resnet import ResNet18
from keras_cnns.models.vgg import VGG16, Column, M, biased_conv_norm_relu

PAPERS = {d.backbone.name.removesuffix("_v1"): d for d in (FasterRCNNResNet101, FasterRCNNVGG16)}

# Two narrow backbones of equal cost with a stride of eight, for scenes of 256 pixels and training from scratch.
SMALL_RESNET = replace(
    ResNet18,
    name="small_resnet",
    row=Staged((2, 2, 2, 1), Basic(), widths=(32, 48, 64, 128), strides=(1, 2, 1, 2), stem=Stem7x7(32)),
    citation="A narrow ResNet-18 of seven units with a stride of eight.",
)
SMALL_VGG = replace(
    VGG16,
    name="small_vgg",
    row=Column((16, M, 32, 32, M, 48, 48, 48, M, 64, 64, 64, M), biased_conv_norm_relu),
    head=DenseHead((128, 128)),
    citation="A narrow VGG of nine convolutions with batch norm and a stride of eight.",
)
SMALL = {a.name: a for a in (SMALL_RESNET, SMALL_VGG)}


def choose(backbone: str, small: bool) -> FasterRCNN:
    """The paper's detector on a network of the zoo or a small one; its settings suit `small` scenes if asked.

    Raises:
        ValueError: no such backbone, or one that is neither a VGG nor has stages.
    """
    if backbone not in SMALL and backbone not in zoo.ARCHITECTURES:
        raise ValueError(unknown("backbone", backbone, (*SMALL, *zoo.ARCHITECTURES), "keras_cnns.list_models()"))
    detector = PAPERS.get(backbone)
    if detector is None:
        own = {"name": f"faster_rcnn_{backbone}", "backbone": SMALL.get(backbone) or zoo.architecture(backbone)}
        vgg = isinstance(own["backbone"].row, Column)
        detector = replace(FasterRCNNVGG16 if vgg else FasterRCNNResNet101, **own, frozen_stages=0)
    return small_scenes(detector) if small else detector


def small_scenes(detector: FasterRCNN) -> FasterRCNN:
    """A detector for objects of 24 to 96 pixels in images of 256: the digits."""
    side = 256
    cells = split(detector.backbone)[0](keras.Input((side, side, 3))).shape[1]
    return replace(
        detector,
        anchors=Anchors((32, 64), (0.5, 1.0, 2.0), stride=side // cells, offset=0.5),
        input_shape=(side, side, 3),
        rpn_filters=64,
        pool=RoIAlign(7),
        training=Proposals(1000, 128, min_size=8),
        testing=Proposals(1000, 100, min_size=8),
        anchor_lot=AnchorLot(count=128),
        region_lot=RegionLot(32, share=0.5, lowest=0.0),
        detections=Detections(limit=50),
    )
