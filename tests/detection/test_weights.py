"""Weights: detectron2's names and conventions, backbones by tag or file, a detector's own files."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from small_detectors import SIDE, SMALL
from support import miniature

import keras_cnns
from keras_cnns.blocks import Bottleneck, Stem7x7
from keras_cnns.detection import Anchors, Detectron2ResNet101C4, RoIAlign
from keras_cnns.detection.network import FasterRCNN
from keras_cnns.detection.weights import DETECTRON2, detectron2_name, load, suited

TINY = replace(
    SMALL,
    backbone=replace(
        keras_cnns.ResNet101V1,
        row=replace(
            keras_cnns.ResNet101V1.row,
            depths=(1, 2, 2, 1),
            widths=(8, 8, 8, 8),
            unit=Bottleneck(stride_at=1),
            stem=Stem7x7(8),
        ),
    ),
    anchors=Anchors((16, 32), (0.5, 1.0)),
    pool=RoIAlign(4, samples=0),
    input_shape=(64, 64, 3),
    norms="frozen",
)


def detectron2_state(model) -> dict[str, np.ndarray]:
    """A state dict with the names and shapes that detectron2 publishes, of random numbers."""
    chance, state = np.random.RandomState(0), {}
    for layer in [*model.layers, *model.get_layer("regions").layers]:
        theirs = detectron2_name(layer.name)
        if theirs is None or not layer.weights:
            continue
        for w in layer.weights:
            shape = tuple(w.shape)
            if len(shape) == 4:
                shape = (shape[3], shape[2], *shape[:2])
            shape = shape[::-1] if len(shape) == 2 else shape
            if layer.name == "rpn_scores":
                shape = (shape[0] // 2, *shape[1:])  # one score an anchor
            if layer.name == "region_deltas":
                shape = (shape[0] - 4, *shape[1:])  # the background has no box
            norm = {
                "gamma": "weight",
                "beta": "bias",
                "moving_mean": "running_mean",
                "moving_variance": "running_var",
            }
            names = norm if theirs.endswith(".norm") else {"kernel": "weight", "bias": "bias"}
            values = chance.rand(*shape) + 0.5 if w.name == "moving_variance" else chance.randn(*shape) * 0.1
            state[f"{theirs}.{names[w.name]}"] = values.astype("float32")
    return state


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    from safetensors.numpy import save_file

    model = TINY.build().inference
    state = detectron2_state(model)
    path = tmp_path_factory.mktemp("d2") / "model.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, path)
    return path, state


def test_names_of_detectron2():
    assert detectron2_name("stem_conv_norm") == "backbone.stem.conv1.norm"
    assert detectron2_name("stage1_unit1_shortcut") == "backbone.res2.0.shortcut"
    assert detectron2_name("stage4_unit3_conv2") == "roi_heads.res5.2.conv2"
    assert detectron2_name("pool") is None


def test_detectron2_is_loaded(written):
    path, state = written
    model = TINY(weights=path)
    kernel = model.get_layer("stage2_unit2_conv2").kernel
    np.testing.assert_array_equal(kernel, state["backbone.res3.1.conv2.weight"].transpose(2, 3, 1, 0))
    # An anchor's probability is the sigmoid of its one score there, the softmax of its two here.
    x = np.random.RandomState(1).randn(1, 4, 4, 16).astype("float32")
    ours = np.asarray(model.get_layer("rpn_scores")(x)).reshape(-1, 2)
    score = x.reshape(-1, 16) @ state["proposal_generator.rpn_head.objectness_logits.weight"][..., 0, 0].T
    score = (score + state["proposal_generator.rpn_head.objectness_logits.bias"]).reshape(-1)
    np.testing.assert_allclose(keras.ops.softmax(ours)[:, 1], 1 / (1 + np.exp(-score)), atol=1e-5)
    # Classes: the background is the last there and the first here, and has no box.
    regions = model.get_layer("regions")
    scores, deltas = regions.get_layer("region_scores"), regions.get_layer("region_deltas")
    theirs = state["roi_heads.box_predictor.cls_score.weight"]
    np.testing.assert_array_equal(scores.kernel, np.concatenate([theirs[-1:], theirs[:-1]]).T)
    assert not np.asarray(deltas.kernel)[:, :4].any()
    np.testing.assert_array_equal(
        np.asarray(deltas.kernel)[:, 4:], state["roi_heads.box_predictor.bbox_pred.weight"].T
    )


def test_detectron2_brings_its_preprocessing(written):
    assert suited(TINY, written[0]).backbone.preprocessing == DETECTRON2
    assert Detectron2ResNet101C4.backbone.preprocessing == DETECTRON2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("backbone.res2.0.conv1.weight"), "backbone.res2.0.conv1.weight is missing"),
        (lambda s: s.update({"backbone.res9.x": np.zeros(1, "float32")}), "backbone.res9.x is left over"),
        (
            lambda s: s.update({"backbone.res2.0.conv1.weight": np.zeros((8, 8, 3, 3), "float32")}),
            r"\(1, 1, 8, 8\)",
        ),
        (lambda s: s["backbone.res2.0.conv1.weight"].fill(np.nan), "not finite"),
    ],
)
def test_detectron2_refusals(written, tmp_path, change, says):
    from safetensors.numpy import save_file

    state = {k: v.copy() for k, v in written[1].items()}
    change(state)
    path = tmp_path / "bad.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, path)
    with pytest.raises(ValueError, match=says):
        TINY(weights=path)


@pytest.mark.parametrize("ending", [".safetensors", ".keras"])
def test_a_backbone_by_file(tmp_path, ending):
    """A classifier's file fills what the detector shares with it, in both stages."""
    small = miniature(keras_cnns.ResNet18)
    detector = replace(TINY, backbone=small)
    classifier = small(classes=5)
    for w in classifier.weights:
        w.assign(np.random.RandomState(len(w.path)).rand(*w.shape))
    path = tmp_path / f"resnet18{ending}"
    classifier.save(path) if ending == ".keras" else keras_cnns.save_torch_weights(classifier, path)
    model = detector(weights=path)
    for place in (model, model.get_layer("regions")):
        shared = [layer for layer in place.layers if layer.name.startswith(("stem", "stage")) and layer.weights]
        assert shared
        for layer in shared:
            for mine, theirs in zip(layer.weights, classifier.get_layer(layer.name).weights, strict=True):
                np.testing.assert_array_equal(mine, theirs)


def test_own_files(tmp_path):
    images = np.random.RandomState(0).randn(1, SIDE, SIDE, 3).astype("float32")
    model = SMALL()
    for name in ("a.keras", "a.weights.h5"):
        path = tmp_path / name
        model.save(path) if name.endswith(".keras") else model.save_weights(path)
        again = SMALL(weights=path)
        for key, value in model(images).items():
            np.testing.assert_array_equal(again(images)[key], value)
    with pytest.raises(ValueError, match="does not fit"):
        replace(SMALL, rpn_filters=8)(weights=tmp_path / "a.keras")
    with pytest.raises(ValueError, match="no weights file"):
        load(model, SMALL, tmp_path / "none.safetensors")
    assert isinstance(suited(SMALL, tmp_path / "a.keras"), FasterRCNN)
