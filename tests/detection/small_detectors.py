"""A detector and scenes small enough for tests."""

from dataclasses import replace

import numpy as np

from keras_cnns.blocks import Basic, Staged, Stem3x3
from keras_cnns.detection import (
    AnchorLot,
    Anchors,
    Detections,
    FasterRCNNResNet101,
    Proposals,
    RegionLot,
    RoIAlign,
)
from keras_cnns.models.resnet import ResNet18
from training.data.storage import Pixels
from training.detection.dataset import BoxDataset, DetectionData, pad_boxes

SIDE = 48
ROW = Staged((1, 1, 1), Basic(), widths=(8, 12, 16), strides=(2, 2, 2), stem=Stem3x3(8))
SMALL = replace(
    FasterRCNNResNet101,
    name="small",
    backbone=replace(ResNet18, name="tiny", row=ROW),
    input_shape=(SIDE, SIDE, 3),
    classes=2,
    anchors=Anchors((12, 20), (1.0,), stride=4, offset=0.5),
    rpn_filters=16,
    pool=RoIAlign(5),
    training=Proposals(100, 24, min_size=3),
    testing=Proposals(100, 16, min_size=3),
    anchor_lot=AnchorLot(count=32),
    region_lot=RegionLot(16, share=0.5, lowest=0.0),
    detections=Detections(limit=8),
    norms="live",
)


def decide(model) -> None:
    """Makes a network that has learned little give clear answers: where scores are equal, rounding decides."""
    for layer, by in ((model.get_layer("rpn_scores"), 40), (model.get_layer("rpn_deltas"), 40)):
        layer.kernel.assign(by * layer.kernel)
    scores = model.get_layer("regions").get_layer("region_scores").kernel
    scores.assign(100 * scores)


def squares(n: int, seed: int = 0, height: int = SIDE, width: int = SIDE) -> BoxDataset:
    """Images with one to three bright (class 0) or dark (class 1) squares on grey."""
    chance = np.random.RandomState(seed)
    images, truths = np.full((n, height, width, 3), 128, np.uint8), []
    for image in images:
        boxes, kinds = [], []
        for _ in range(chance.randint(1, 4)):
            side = chance.randint(10, 22)
            x, y, kind = chance.randint(width - side), chance.randint(height - side), chance.randint(2)
            if all(x >= b[2] or y >= b[3] or x + side <= b[0] or y + side <= b[1] for b in boxes):
                image[y : y + side, x : x + side] = (230, 30)[kind]
                boxes.append((x, y, x + side, y + side))
                kinds.append(kind)
        truths.append((boxes, kinds, np.zeros(len(kinds), bool)))
    sizes = np.tile(np.array([[height, width]], np.int32), (n, 1))
    return BoxDataset(Pixels(images), sizes, *pad_boxes(truths), tuple(range(n)))


def scenes(train: int = 16) -> DetectionData:
    """Three splits of `squares`."""
    parts = {"train": squares(train, 1), "val": squares(4, 2), "test": squares(6, 3)}
    return DetectionData("squares", ("bright", "dark"), **parts, mirror=True, origin="squares")
