"""Faster R-CNN (Ren, He, Girshick & Sun 2015, arXiv 1506.01497) on any network of stages, and on VGG.

All stages of the body but the last are shared: a region proposal network reads their map, regions of it are pooled
to a fixed size, and the last stage classifies each of them (He et al. 2015, section 5 and appendix A).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import keras
from keras.layers import Concatenate, Dense, Dropout, Flatten, GlobalAveragePooling2D

from keras_cnns.architecture import Architecture
from keras_cnns.blocks.conv import conv, gaussian, relu
from keras_cnns.blocks.head import dense_relu
from keras_cnns.blocks.staged import Staged
from keras_cnns.deep import deep_recursion
from keras_cnns.detection import layers as parts
from keras_cnns.detection.anchors import Anchors, RoundedAnchors
from keras_cnns.detection.layers import Detections, Proposals
from keras_cnns.detection.roi import RoIAlign, RoIPool
from keras_cnns.detection.targets import AnchorLot, RegionLot
from keras_cnns.detection.weights import DETECTRON2, load, suited
from keras_cnns.models.resnet import ResNet101V1
from keras_cnns.models.vgg import VGG16, Column
from keras_cnns.values import Count, Range, Value

PAPER = "Ren, He, Girshick & Sun 2015, Faster R-CNN, arXiv 1506.01497"
VOC = 20


@dataclass(frozen=True)
class FasterRCNN(Value):
    """A two-stage detector as a frozen value: changed by `replace`, written to JSON, called to build a model.

    Attributes:
        name: command-line name, and the default name of the models it builds.
        backbone: a network of the zoo. A network of stages shares all stages but the last, which processes the
            regions; VGG shares its convolutions, and its hidden dense layers process the regions.
        citation: description and paper.
        input_shape: default (height, width, channels); height or width may be None.
        classes: number of classes without the background.
        anchors: anchors at every cell of the shared map; their stride is that of the map.
        rpn_filters: filters of the 3x3 convolution of the proposals.
        pool: pooling of regions to a fixed size.
        training, testing: selection of proposals.
        anchor_lot, region_lot: sampling for the losses.
        detections: selection of detections.
        norms: batch norms "frozen" with the statistics of the weights (the paper), or "live".
        frozen_stages: number of first stages that are not trained, with the stem (2 of VGG in the paper).
    """

    name: str
    backbone: Architecture
    citation: str
    input_shape: tuple[Count | None, Count | None, Count] = (600, 1000, 3)
    classes: Count = VOC
    anchors: Anchors = RoundedAnchors()
    rpn_filters: Count = 512
    pool: RoIPool | RoIAlign = RoIPool(14)
    training: Proposals = Proposals(12_000, 2_000)
    testing: Proposals = Proposals(6_000, 300)
    anchor_lot: AnchorLot = AnchorLot()
    region_lot: RegionLot = RegionLot()
    detections: Detections = Detections()
    norms: Literal["frozen", "live"] = "frozen"
    frozen_stages: Annotated[int, Range(0, 64)] = 0

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.backbone.row, Staged | Column):
            raise ValueError(f"a backbone must be a network of stages or a VGG, got {self.backbone.name}")
        if self.region_lot.count > self.training.after:
            few = f"{self.training.after}, got {self.region_lot.count}"
            raise ValueError(f"region_lot.count must be at most training.after, {few}")

    def __call__(
        self,
        classes: int | None = None,
        input_shape: tuple[int | None, int | None, int] | None = None,
        name: str | None = None,
        weights: str | Path | None = None,
    ) -> keras.Model:
        """Builds the network for inference: images (n, h, w, c), preprocessed for the backbone -> a dict.

        `boxes` (n, limit, 4) in pixels of that image as x1, y1, x2, y2; `scores` (n, limit); `classes` (n, limit)
        from 0; `count` (n,). Sorted by descending score; entries beyond the count are zero.

        Args:
            weights: as for `keras_cnns.detection.weights.load`; the backbone is adapted to them
                (`keras_cnns.detection.weights.suited`).

        Raises:
            ValueError: invalid arguments, or weights that do not fit.
            ConnectionError: known weights cannot be downloaded.
        """
        if weights is None:
            return self.build(classes, input_shape, name).inference
        detector = suited(self, weights)
        model = detector.build(classes, input_shape, name).inference
        load(model, detector, weights)
        return model

    def build(self, classes=None, input_shape=None, name=None) -> "Built":
        """Builds the models for inference and training, which share all weights.

        Raises:
            ValueError: invalid shape or number of classes; the stride of the anchors is not that of the map.
        """
        shape = self.input_shape if input_shape is None else tuple(input_shape)
        classes = self.classes if classes is None else classes
        self._check(shape, classes)
        shared, private = split(self.backbone)
        with deep_recursion():
            image = keras.Input(shape, name="image")
            maps = shared(image)
            self._check_stride(image, maps)
            x = conv(maps, self.rpn_filters, 3, bias=True, init=gaussian, name="rpn_conv")
            x = relu(x, name="rpn_conv_relu")
            scores = _map(x, 2 * self.anchors.count, "rpn_scores")
            deltas = _map(x, 4 * self.anchors.count, "rpn_deltas")
            crop = keras.Input((self.pool.size, self.pool.size, maps.shape[-1]), name="crop")
            vector = private(crop)
            head = [
                _dense(vector, classes + 1, 0.01, "region_scores"),
                _dense(vector, 4 * (classes + 1), 0.001, "region_deltas"),
            ]
            regions = keras.Model(crop, head, name="regions")
            model = keras.Model(
                image, self._detections(image, maps, scores, deltas, regions), name=name or self.name
            )
            learner = self._learner(image, maps, scores, deltas, regions)
        self._freeze(model, regions)
        return Built(model, learner, regions)

    def _detections(self, image, maps, scores, deltas, regions):
        extent = parts.Extent(name="extent")(image)
        found = parts.Propose(self.anchors, self.testing, name="propose")(scores, deltas, extent)
        answers = regions(parts.Pool(self.anchors, self.pool, name="pool")(maps, found))
        return parts.Detect(self.detections, name="detect")(*answers, found, extent)

    def _learner(self, image, maps, scores, deltas, regions):
        """image, boxes (n, g, 4), labels (n, g), extent (n, 2) -> the four losses of each image (n, 4)."""
        boxes, labels = keras.Input((None, 4), name="boxes"), keras.Input((None,), dtype="int32", name="labels")
        extent = keras.Input((2,), name="extent")
        first = parts.AnchorLoss(self.anchors, self.anchor_lot, name="anchor_loss")(
            scores, deltas, boxes, labels, extent
        )
        found = parts.Propose(self.anchors, self.training, name="propose_to_learn")(scores, deltas, extent)
        some, *wanted = parts.DrawRegions(self.region_lot, name="draw_regions")(found, boxes, labels)
        answers = regions(parts.Pool(self.anchors, self.pool, name="pool_to_learn")(maps, some))
        second = parts.RegionLoss(name="region_loss")(*answers, *wanted)
        losses = Concatenate(dtype="float32", name="losses")([first, second])
        return keras.Model([image, boxes, labels, extent], losses, name=f"{self.name}_losses")

    def _freeze(self, model, regions) -> None:
        stages = tuple(f"stage{i}_" for i in range(1, self.frozen_stages + 1))
        for layer in [*model.layers, *regions.layers]:
            frozen = isinstance(layer, keras.layers.BatchNormalization) and self.norms == "frozen"
            if frozen or (stages and layer.name.startswith((*stages, "stem_"))):
                layer.trainable = False

    def _check(self, shape, classes) -> None:
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
            raise ValueError(f"classes must be a positive integer, got {classes!r}")
        if len(shape) != 3 or shape[2] is None:
            raise ValueError(f"input_shape must be (height, width, channels), got {shape}")

    def _check_stride(self, image, maps) -> None:
        """Raises ValueError unless the stride of the map is that of the anchors."""
        shape, stride = tuple(image.shape[1:]), self.anchors.stride
        sides, cells = shape[:2], maps.shape[1:3]
        if None in sides:
            sides = (8 * stride, 8 * stride)
            cells = keras.Model(image, maps).compute_output_shape((None, *sides, shape[2]))[1:3]
        if any(c not in (side // stride, -(-side // stride)) for side, c in zip(sides, cells, strict=True)):
            own = round(sides[0] / cells[0])
            raise ValueError(f"the stride of the anchors must be that of the map, {own}, got {stride}")


@dataclass(frozen=True)
class Built:
    """A detector's models, which share their weights.

    Attributes:
        inference: the model for inference.
        learner: (image, boxes, labels, extent) -> the four losses of each image.
        regions: the second stage, crops -> scores and deltas.
    """

    inference: keras.Model
    learner: keras.Model
    regions: keras.Model


def split(backbone: Architecture) -> tuple[Callable, Callable]:
    """(the shared part, image -> map; the part for each region, crop -> vector)."""
    if isinstance(backbone.row, Column):
        return replace(backbone.row, layers=backbone.row.layers[:-1]), Hidden(backbone.head)
    return backbone.row[:-1], LastStage(backbone.row[-1:])


@dataclass(frozen=True)
class LastStage(Value):
    """The last stage of a body and global average pooling: conv5_x on regions (He et al. 2015)."""

    row: Staged

    def __call__(self, x):
        return GlobalAveragePooling2D(name="region_pool")(self.row(x))


@dataclass(frozen=True)
class Hidden(Value):
    """The hidden dense layers of a head: VGG's fc6 and fc7 on regions."""

    head: Callable

    def __call__(self, x):
        x = Flatten(name="flatten")(x)
        for i, units in enumerate(self.head.units, self.head.first):
            x = dense_relu(x, units, init=self.head.init, start=self.head.start, name=f"fc{i}")
            x = Dropout(self.head.dropout, name=f"fc{i}_dropout")(x)
        return x


def _map(x, filters: int, name: str):
    """A 1x1 convolution in float32, since scores and boxes need its precision."""
    return keras.layers.Conv2D(filters, 1, kernel_initializer=gaussian(), dtype="float32", name=name)(x)


def _dense(x, units: int, deviation: float, name: str):
    start = keras.initializers.RandomNormal(stddev=deviation)
    return Dense(units, kernel_initializer=start, dtype="float32", name=name)(x)


FasterRCNNResNet101 = FasterRCNN(
    "faster_rcnn_resnet101",
    ResNet101V1,
    f"Faster R-CNN on ResNet-101, He et al. 2015, appendix A, after {PAPER}.",
)
FasterRCNNVGG16 = FasterRCNN(
    "faster_rcnn_vgg16",
    VGG16,
    f"Faster R-CNN on VGG-16, {PAPER}.",
    pool=RoIPool(7),
    frozen_stages=2,
)
# detectron2's R101-C4 for COCO: `weights=` accepts its state dict.
Detectron2ResNet101C4 = replace(
    FasterRCNNResNet101,
    name="detectron2_r101_c4",
    backbone=replace(ResNet101V1, preprocessing=DETECTRON2),
    citation=f"Faster R-CNN on ResNet-101 in the form of detectron2's R101-C4, after {PAPER}.",
    input_shape=(800, 1333, 3),
    classes=80,
    anchors=Anchors(),
    rpn_filters=1024,
    pool=RoIAlign(14, samples=0),
    training=Proposals(12_000, 2_000, min_size=1e-6),
    testing=Proposals(6_000, 1_000, min_size=1e-6),
    region_lot=RegionLot(512, lowest=0.0),
    detections=Detections(overlap=0.5),
    frozen_stages=1,
)
