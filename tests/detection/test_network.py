"""The network: its published counts, its shapes, its frozen norms, its backbones, one image learned by heart."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from small_detectors import SIDE, SMALL, decide, squares
from support import ARCHITECTURES, miniature

import keras_cnns
from keras_cnns import values
from keras_cnns.detection import (
    Anchors,
    Detectron2ResNet101C4,
    FasterRCNNResNet101,
    FasterRCNNVGG16,
    Proposals,
    RegionLot,
    RoIPool,
    layers,
)
from keras_cnns.detection.network import FasterRCNN
from training.detection.config import PARTS
from training.detection.task import DetectionStep


def count(variables) -> int:
    return sum(int(np.prod(v.shape)) for v in variables)


@pytest.fixture(scope="module")
def voc():
    """The published detector, its weights zero: building is faster so, and counts are all that is asked."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (keras.initializers.VarianceScaling, keras.initializers.RandomNormal):
            patch.setattr(
                kind, "__call__", lambda self, shape, dtype=None, **o: keras.ops.zeros(shape, dtype=dtype)
            )
        return FasterRCNNResNet101.build()


def test_published_counts(voc):
    model = voc.inference
    moving = count(w for w in model.weights if w.name.startswith("moving_"))
    assert count(model.weights) - moving == 47_462_111
    assert count(model.trainable_weights) == 47_356_767
    assert moving == 105_344
    assert count(v for v in voc.learner.trainable_weights) == 47_356_767  # the same weights


def test_published_counts_by_part(voc):
    named = {layer.name: layer for layer in [*voc.inference.layers, *voc.regions.layers]}

    def of(*starts):
        found = [layer for name, layer in named.items() if name.startswith(starts) and name != "regions"]
        return count(w for layer in found for w in layer.weights if not w.name.startswith("moving_"))

    assert of("stem_", "stage1_", "stage2_", "stage3_") == 27_535_424
    assert of("rpn_") == 4_746_806
    assert of("stage4_") == 14_964_736
    assert of("region_") == 215_145


@pytest.mark.slow
def test_published_operations():
    """At 600 x 1000 (architectures' own figures): the shared map, the proposals, a region."""
    model = FasterRCNNResNet101.build()
    image = model.inference.input
    maps = model.inference.get_layer("stage3_unit23_relu").output
    assert tuple(maps.shape[1:]) == (38, 63, 1024)
    assert keras_cnns.measure(keras.Model(image, maps)).macs == 83_051_394_048
    rpn = [model.inference.get_layer(f"rpn_{name}").output for name in ("scores", "deltas")]
    assert keras_cnns.measure(keras.Model(image, rpn)).macs == 83_051_394_048 + 11_362_498_560
    assert keras_cnns.measure(model.regions).macs == 732_383_232


@pytest.mark.slow
def test_counts_of_coco_and_vgg():
    coco = replace(FasterRCNNResNet101, anchors=replace(FasterRCNNResNet101.anchors, sizes=(64, 128, 256, 512)))
    weights = coco(classes=80).weights
    assert count(w for w in weights if not w.name.startswith("moving_")) == 48_086_045
    built = FasterRCNNVGG16.build()
    # conv1_1 to conv5_3, the proposals, fc6 on 7 x 7 x 512, fc7, the heads of 21 classes.
    rpn = 512 * 512 * 9 + 512 + 513 * 18 + 513 * 36
    assert count(built.inference.weights) == 14_714_688 + rpn + 102_764_544 + 16_781_312 + 4097 * 21 * 5
    frozen = count(built.inference.weights) - count(built.inference.trainable_weights)
    assert frozen == 1_792 + 36_928 + 73_856 + 147_584  # conv1_x and conv2_x, as published


def test_shapes_are_static(voc):
    out = voc.inference.output
    assert {k: tuple(v.shape) for k, v in out.items()} == {
        "boxes": (None, 100, 4),
        "scores": (None, 100),
        "classes": (None, 100),
        "count": (None,),
    }
    assert tuple(voc.learner.output.shape) == (None, 4)


@pytest.fixture(scope="module")
def small():
    keras.utils.set_random_seed(1)
    built = SMALL.build()
    decide(built.inference)
    return built


def batch(n: int = 2):
    split = squares(n)
    labels = (split.labels + 1).astype("int32")
    extent = np.full((n, 2), SIDE, "float32")
    return [split.images.array.astype("float32") / 128 - 1, split.boxes, labels, extent]


def test_answers_obey_their_contract(small):
    out = {k: np.asarray(v) for k, v in small.inference(batch(3)[0]).items()}
    for i, n in enumerate(out["count"]):
        assert (np.diff(out["scores"][i, :n]) <= 0).all()
        assert (out["scores"][i, :n] > SMALL.detections.score).all()
        assert not any(out[k][i, n:].any() for k in ("boxes", "scores", "classes"))
        assert (out["boxes"][i] >= 0).all()
        assert (out["boxes"][i] <= SIDE).all()


def test_an_image_does_not_depend_on_its_neighbours(small):
    images = batch(3)[0]
    whole = small.inference(images)
    alone = small.inference(images[1:2])
    for name in whole:
        np.testing.assert_allclose(whole[name][1:2], alone[name], atol=1e-4)


def test_compiled_by_xla(small):
    import tensorflow as tf

    images = batch(2)[0]
    compiled = tf.function(lambda x: small.inference(x, training=False), jit_compile=True)(images)
    for name, value in small.inference(images, training=False).items():
        np.testing.assert_allclose(compiled[name], value, atol=1e-3)


def test_frozen_norms_and_stages_stay():
    built = replace(SMALL, norms="frozen", frozen_stages=1).build()
    keras.utils.set_random_seed(0)
    model = DetectionStep(built.learner.inputs, built.learner.outputs)
    model.compile(keras.optimizers.SGD(0.1), None)
    before = {w.path: keras.ops.convert_to_numpy(w) for w in built.inference.weights}
    x = batch()
    model.fit(x, x[2], batch_size=2, epochs=1, verbose=0)
    changed = {w.path for w in built.inference.weights if (keras.ops.convert_to_numpy(w) != before[w.path]).any()}
    assert not any("norm" in path or path.startswith(("stem", "stage1")) for path in changed)
    assert any(path.startswith("stage2_unit1_conv1/") for path in changed)
    assert any(path.startswith("stage3_unit1_conv1/") for path in changed)  # the regions' stage
    assert any(path.startswith("rpn_conv/") for path in changed)


@pytest.mark.slow
def test_one_image_is_learned_by_heart():
    keras.utils.set_random_seed(2)
    built = SMALL.build()
    model = DetectionStep(built.learner.inputs, built.learner.outputs, clip=10.0)
    model.compile(keras.optimizers.SGD(0.03, momentum=0.9), None)
    x = [np.repeat(part, 2, axis=0) for part in batch(1)]
    losses = model.fit(x, x[2], batch_size=2, epochs=120, verbose=0).history
    assert losses["loss"][0] > 1
    for name in layers.LOSSES:
        assert losses[name][-1] < 0.1
    out = {k: np.asarray(v) for k, v in built.inference(x[0][:1]).items()}
    truth = x[1][0][x[2][0] > 0]
    sure = out["scores"][0] > 0.5
    assert sure.sum() == len(truth)
    order = np.argsort(out["boxes"][0][sure][:, 0])
    np.testing.assert_allclose(out["boxes"][0][sure][order], truth[np.argsort(truth[:, 0])], atol=2.5)


def test_it_goes_to_json_and_back():
    for detector in (FasterRCNNResNet101, FasterRCNNVGG16, Detectron2ResNet101C4, SMALL):
        assert values.from_json(values.to_json(detector), PARTS) == detector


def test_saved_is_loaded(small, tmp_path):
    path = tmp_path / "model.keras"
    small.inference.save(path)
    again = keras_cnns.load_model(path)
    images = batch(2)[0]
    for name, value in small.inference(images).items():
        np.testing.assert_array_equal(again(images)[name], value)


FEW = ["resnet18", "vgg16"]
STAGED = [
    pytest.param(n, marks=[] if n in FEW else pytest.mark.slow)
    for n in (
        "resnet18",
        "vgg16",
        "resnet50",
        "resnet50_v2",
        "resnext50_32x4d",
        "seresnet50",
        "sknet50",
        "resnest50",
    )
]


@pytest.mark.parametrize("name", STAGED)
def test_any_backbone(name):
    """Built on a miniature of the network; every weight of the detector gets a gradient."""
    import tensorflow as tf

    own = FasterRCNNVGG16 if name == "vgg16" else FasterRCNNResNet101
    few = {"training": Proposals(200, 32, min_size=4), "region_lot": RegionLot(16), "norms": "live"}
    detector = replace(
        own,
        backbone=miniature(ARCHITECTURES[name]),
        anchors=Anchors((32, 48)),
        pool=RoIPool(4),
        frozen_stages=0,
        **few,
    )
    built = detector.build(3, (96, 128, 3))
    x = [
        np.random.RandomState(0).randn(1, 96, 128, 3).astype("float32"),
        np.array([[[20.0, 20, 60, 60]]], "float32"),
    ]
    x += [np.array([[2]], "int32"), np.array([[96.0, 128.0]], "float32")]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(built.learner(x, training=True))
    lacking = [
        v.path
        for v, g in zip(
            built.learner.trainable_variables,
            tape.gradient(loss, [v.value for v in built.learner.trainable_variables]),
            strict=True,
        )
        if g is None
    ]
    assert not lacking
    assert np.isfinite(float(loss))


def test_refusals():
    with pytest.raises(ValueError, match="network of stages or a VGG, got googlenet"):
        replace(FasterRCNNResNet101, backbone=keras_cnns.GoogLeNet)
    with pytest.raises(ValueError, match="the stride of the anchors must be that of the map, 4, got 8"):
        replace(SMALL, anchors=Anchors((12,), stride=8)).build()
    with pytest.raises(ValueError, match="classes must be a positive integer"):
        SMALL.build(0)
    with pytest.raises(ValueError, match=r"input_shape must be \(height, width, channels\)"):
        SMALL.build(input_shape=(32, 32))
    with pytest.raises(ValueError, match=r"region_lot\.count must be at most training\.after, 24, got 500"):
        replace(SMALL, region_lot=RegionLot(500))


def test_detectors_are_no_models_of_the_list():
    assert not any("rcnn" in name for name in keras_cnns.list_models())
    assert isinstance(FasterRCNNResNet101, FasterRCNN)
    assert layers.LOSSES == ("rpn_objectness", "rpn_boxes", "region_classes", "region_boxes")


@pytest.mark.slow
def test_memory_of_a_step_of_resnet101():
    """One training step of two images at 600 x 800, and detection at 600 x 1000: peaks of a process of its own."""
    from support import fresh_process

    script = """
import resource
from dataclasses import replace
import numpy as np, keras
from keras_cnns.detection import FasterRCNNResNet101
from training.detection.task import DetectionStep
built = replace(FasterRCNNResNet101, norms="live").build(20, (None, None, 3))  # frozen ones need less
model = DetectionStep(built.learner.inputs, built.learner.outputs, decay=5e-4)
model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), None)
n = 2
x = [np.random.RandomState(0).randn(n, 600, 800, 3).astype("float32")]
x += [np.array(v * n, k) for v, k in (([[[50.0, 60, 300, 400]]], "float32"), ([[3]], "int32"))]
x += [np.array([[600.0, 800.0]] * n, "float32")]
print(model.fit(x, x[2], batch_size=n, epochs=2, verbose=0).history["loss"])
trained = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
out = built.inference(np.zeros((1, 600, 1000, 3), "float32"))
print(out["count"])
print(trained)
"""
    lines = fresh_process(script).splitlines()
    assert np.isfinite(eval(lines[0])).all()
    assert float(lines[-1]) < 10  # GiB
