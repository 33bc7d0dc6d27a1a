"""The table of known weights: complete, consistent, and what `weights=` makes of a tag."""

import csv
import logging
import re

import numpy as np
import pytest
from support import ARCHITECTURES, GOLDENS, ROOT

import keras_cnns
from keras_cnns.preprocessing import CAFFE, TF, TORCH
from keras_cnns.weights import loading, registry

ENTRIES = registry.entries()


def test_the_table_is_whole():
    assert len(ENTRIES) == 156
    assert {e.source for e in ENTRIES.values()} == {"timm", "torchvision", "keras", "keras_cnns"}
    assert sum(not e.permissive for e in ENTRIES.values()) == 11
    assert len({(e.arch, e.tag, e.source) for e in ENTRIES.values()}) == 156
    published = {name: e for name, e in ENTRIES.items() if e.source != registry.OWN}
    assert len(published) == 155
    for name, e in published.items():
        assert e.arch in ARCHITECTURES
        assert e.location.startswith(("https://", "timm/")), name
        assert re.fullmatch(r"([0-9a-f]{8})?", e.sha256_prefix)
        assert bool(e.sha256_prefix) == (e.source == "torchvision"), name
        assert bool(re.fullmatch(r"[0-9a-f]{32}", e.md5)) == (e.source == "keras"), name
        assert e.resized >= e.eval_size
        assert e.change in ("", *loading.CHANGES)


def test_parameters_are_those_of_the_networks():
    """But for the biases of keras.applications, which fold into the norms."""
    for e in ENTRIES.values():
        folded = e.source == "keras" and e.arch.startswith("resnet")
        if e.arch in GOLDENS and not folded:
            assert e.params == int(GOLDENS[e.arch]["params"]), e.name


def test_rows_are_the_zoos():
    """A tag goes with the published row; when a row is redefined, write `rows.csv` anew:
    `arch,registry.fingerprint(zoo.architecture(arch).row)` for every network with weights.
    """
    assert set(registry.rows()) == {e.arch for e in ENTRIES.values()}
    for arch, digits in registry.rows().items():
        assert registry.fingerprint(ARCHITECTURES[arch].row) == digits, arch
    changed = keras_cnns.ResNet50.with_unit(stride_at=1)
    with pytest.raises(ValueError, match="fits only the published resnet50; this row was changed"):
        changed.for_weights("timm/resnet50.a1_in1k")


@pytest.mark.slow
def test_twins_are_all_the_networks_of_equal_weights():
    shapes = {}
    for name, architecture in ARCHITECTURES.items():
        model = architecture(
            input_shape=(
                max(architecture.min_size, 64),
                max(architecture.min_size, 64),
                architecture.input_shape[2],
            )
        )
        key = tuple((layer.name, tuple(w.shape)) for layer in model.layers for w in layer.weights)
        shapes.setdefault(key, set()).add(name)
    groups = {frozenset(g) for g in shapes.values() if len(g) > 1}
    assert {frozenset(pair) for pair in registry.TWINS} == groups - {frozenset({"vgg11", "vgg11_lrn"})}


def test_list_weights():
    names = [e.name for e in keras_cnns.list_weights("resnet50")]
    assert len(names) == 20
    assert {"timm/resnet50.a1_in1k", "torchvision/resnet50.IMAGENET1K_V2"} <= set(names)
    assert names[0] == "timm/resnet50.a1_in1k"
    assert len(keras_cnns.list_weights()) == 156
    assert len(keras_cnns.list_weights(licence="permissive")) == 145
    assert {e.licence for e in keras_cnns.list_weights("resnext*", "cc-by-nc-4.0")} == {"cc-by-nc-4.0"}
    assert keras_cnns.list_weights("lenet5") == []
    with pytest.raises(ValueError, match=r"no licence 'apache2.0'; did you mean 'apache-2.0'"):
        keras_cnns.list_weights(licence="apache2.0")
    line = str(keras_cnns.list_weights("resnet50")[0])
    assert line == "timm/resnet50.a1_in1k: resnet50, top-1 81.24 % at 288, crop 1, bicubic, apache-2.0"


# The best that may be used commercially, as the published tables say.
BEST = {
    "resnet18": "timm/resnet18.a1_in1k",
    "resnet34": "timm/resnet34.ra4_e3600_r224_in1k",
    "resnet50": "timm/resnet50.a1_in1k",
    "resnet101": "timm/resnet101.a1h_in1k",
    "resnet152": "timm/resnet152.a1h_in1k",
    "resnet50_v1": "keras/resnet50_v1.imagenet",
    "resnet50_v2": "timm/resnetv2_50.a1h_in1k",
    "resnet152_v2": "keras/resnet152_v2.imagenet",
    "wide_resnet50_2": "timm/wide_resnet50_2.racm_in1k",
    "resnext101_32x8d": "torchvision/resnext101_32x8d.IMAGENET1K_V2",
    "seresnet50": "timm/seresnet50.ra2_in1k",
    "seresnet152": "timm/legacy_seresnet152.in1k",
    "sknet50": "timm/skresnext50_32x4d.ra_in1k",
    "alexnet_owt": "torchvision/alexnet.IMAGENET1K_V1",
    "googlenet_tv": "torchvision/googlenet.IMAGENET1K_V1",
}


@pytest.mark.parametrize("arch", BEST)
def test_imagenet_is_the_best_permissive_one(arch):
    entry = registry.find("imagenet", arch)
    assert entry.name == BEST[arch]
    assert entry.top1 == max(e.top1 for e in ENTRIES.values() if e.arch == arch and "nc" not in e.licence)


def test_non_commercial_ones_are_never_chosen():
    for arch in {e.arch for e in ENTRIES.values() if e.data == "ImageNet"}:
        assert registry.find("imagenet", arch).permissive
    assert registry.find("timm/resnext101_32x8d.fb_wsl_ig1b_ft_in1k", "resnext101_32x8d").licence == "cc-by-nc-4.0"


def test_tags_and_aliases():
    assert registry.find("timm/sknet50.ra_in1k", "sknet50").name == "timm/skresnext50_32x4d.ra_in1k"
    assert registry.find("timm/seresnet50.in1k", "seresnet50").name == "timm/legacy_seresnet50.in1k"
    assert registry.find("torchvision/alexnet_owt.IMAGENET1K_V1", "alexnet_owt").file.startswith("alexnet-owt")
    for tag, arch, says in [
        ("timm/resnet50.a1_in1", "resnet50", "did you mean 'timm/resnet50.a1_in1k'?"),
        ("timm/resnet18.a1_in1k", "resnet50", "are weights of resnet18, not of resnet50"),
        ("imagenet", "lenet5", "no weights are known for lenet5"),
    ]:
        with pytest.raises(ValueError, match=re.escape(says)):
            registry.find(tag, arch)


def test_bad_weights_arguments(tmp_path):
    for weights, says in [
        (3, "weights must be None, a tag or a path, got 3"),
        ("imagnet", "no weights 'imagnet'"),
        ("none.safetensors", "no weights file 'none.safetensors'"),
    ]:
        with pytest.raises(ValueError, match=re.escape(says)):
            keras_cnns.ResNet50(weights=weights)
    (tmp_path / "net.onnx").write_text("")
    with pytest.raises(ValueError, match=r"a weights file must end in \.safetensors, \.weights\.h5"):
        keras_cnns.ResNet50(weights=tmp_path / "net.onnx")


# --- what an entry decides --------------------------------------------------------------------------------------


def test_preprocessing_of_a_tag():
    white = np.full((1, 1, 1, 3), 255, "uint8")
    for architecture, tag, expected in [
        (keras_cnns.ResNet50, "imagenet", TORCH),
        (keras_cnns.ResNet34, "imagenet", TF),
        (keras_cnns.ResNet50V1, "imagenet", CAFFE),
        (keras_cnns.VGG16, "keras/vgg16.imagenet", CAFFE),
        (keras_cnns.VGG16, "torchvision/vgg16.IMAGENET1K_V1", TORCH),
        (keras_cnns.ResNet50V2, "keras/resnet50_v2.imagenet", TF),
        (keras_cnns.GoogLeNetTV, "imagenet", TF),
        (keras_cnns.ResNeXt50_32x4d, "keras/resnext50_32x4d.imagenet", TORCH),
    ]:
        np.testing.assert_allclose(architecture.preprocess_input(white, weights=tag), expected(white), atol=1e-6)
        assert architecture.for_weights(tag).preprocessing(white).shape == (1, 1, 1, 3)
    with pytest.raises(ValueError, match="no weights 'x'"):
        keras_cnns.ResNet50.preprocess_input(white, weights="x")


def test_a_tag_decides_the_row(caplog):
    caplog.set_level(logging.INFO, logger="keras_cnns")
    assert keras_cnns.SEResNet50.for_weights("timm/legacy_seresnet50.in1k").row.unit.stride_at == 1
    assert "timm/legacy_seresnet50.in1k: seresnet50 is built as these weights need it" in caplog.text
    v2 = keras_cnns.ResNet50V2.for_weights("keras/resnet50_v2.imagenet").row
    assert (v2.stride_unit, v2.strides) == (-1, (2, 2, 2, 1))
    assert keras_cnns.ResNet50.for_weights("imagenet").row == keras_cnns.ResNet50.row
    assert keras_cnns.VGG11.for_weights("timm/vgg11.tv_in1k").head.cells == (7, 7)
    assert keras_cnns.AlexNetOWT.for_weights("imagenet").head.cells == (6, 6)


def test_suited_architectures_are_values():
    for architecture, tag in [
        (keras_cnns.SEResNet18, "imagenet"),
        (keras_cnns.ResNet50V2, "keras/resnet50_v2.imagenet"),
        (keras_cnns.AlexNetOWT, "imagenet"),
    ]:
        suited = architecture.for_weights(tag)
        assert suited != architecture
        assert keras_cnns.from_json(keras_cnns.to_json(suited)) == suited


# --- names of classes -------------------------------------------------------------------------------------------


def test_imagenet_classes():
    names = registry.class_names()
    ids = [i for i, _ in names]
    assert len(names) == 1000
    assert ids == sorted(ids)
    assert len({n for _, n in names}) == 1000
    assert all(re.fullmatch(r"n\d{8}", i) for i in ids)
    assert dict(names)["n02123045"] == "tabby"
    assert ids.index("n02123045") == 281  # the number that everyone knows
    scores = np.zeros((2, 1000))
    scores[0, 281], scores[0, 0], scores[1, 999] = 0.7, 0.3, 1
    found = keras_cnns.ResNet50.decode_predictions(scores, top=2)
    assert found[0] == [("tabby", 0.7), ("tench", 0.3)]
    assert found[1][0] == ("toilet tissue", 1.0)
    with pytest.raises(ValueError, match="the names of 10 classes are unknown: give labels="):
        keras_cnns.ResNet50.decode_predictions(scores[:, :10])


def test_the_wheel_carries_the_tables():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["keras_cnns.weights"]
    inside = {p.suffix for p in (ROOT / "keras_cnns" / "weights").iterdir() if p.is_file()}
    assert inside - {".py"} == {p.removeprefix("*") for p in patterns}
    with open(ROOT / "keras_cnns" / "weights" / "known.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 155
