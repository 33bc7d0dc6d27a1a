"""Tiny networks of each family in PyTorch's layout, by a NumPy reference of torch's semantics, loaded by path."""

import json
import logging
import re
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
import torch_reference as reference
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from support import MINIATURES, images, randomise

import keras_cnns
from keras_cnns.blocks import (
    Basic,
    DeepStem,
    RepVGGStem,
    RepVGGUnit,
    SelectiveKernel,
    SplitAttention,
    SqueezeExcite,
    Stem7x7,
    StemConv7x7,
)
from keras_cnns.models.vgg import M
from keras_cnns.weights.changes import CHANGES
from keras_cnns.weights.saving import structure

CLASSES = 5
STAGES = ((2, 8), (2, 16))
SE = SqueezeExcite(4)


def shrunk(architecture, stem, **changes):
    """Two stages of two thin units."""
    row = replace(architecture.row, depths=(2, 2), widths=(8, 16), stem=stem)
    return replace(architecture, row=row.with_unit(**changes) if changes else row)


def grouped(stage: int, index: int) -> RepVGGUnit:
    return RepVGGUnit(groups=2 if index % 2 == 0 else 1)


def column(architecture, *layers):
    head = replace(architecture.head, units=(12, 12))
    return replace(architecture, row=replace(architecture.row, layers=layers), head=head)


def lineage(architecture):
    return replace(architecture, row=CHANGES["legacy_senet"](architecture.row)[0])


RESNET = partial(reference.resnet, stages=STAGES, classes=CLASSES)
V2, RESNEST = (partial(f, stages=STAGES, classes=CLASSES) for f in (reference.resnet_v2, reference.resnest))
NARROW = (8, M, 12, M, 12, M, 16, M, 16, M)
WIDE = (8, "M", 12, "M", 12, "M", 16, "M", 16, "M")
REPVGG = replace(keras_cnns.RepVGGA0.row, depths=(2, 3), widths=(8, 12), stem=RepVGGStem(8))
SE_UNIT = RepVGGUnit(gate=SE)
CASES = {
    "resnet basic": (shrunk(keras_cnns.ResNet18, Stem7x7(8)), partial(RESNET, basic=True)),
    "resnet v1.5": (shrunk(keras_cnns.ResNet50, Stem7x7(8)), RESNET),
    "resnet v1": (shrunk(keras_cnns.ResNet50V1, Stem7x7(8)), partial(RESNET, stride_at=1)),
    "wide": (shrunk(keras_cnns.WideResNet50_2, Stem7x7(8)), partial(RESNET, width=2)),
    "resnext": (
        shrunk(keras_cnns.ResNeXt50_32x4d, Stem7x7(8), spatial=keras_cnns.blocks.Conv3x3(groups=2)),
        partial(RESNET, width=2, groups=2),
    ),
    "se": (shrunk(keras_cnns.SEResNet50, Stem7x7(8), gate=SE), partial(RESNET, gate="se")),
    "legacy se": (
        lineage(shrunk(keras_cnns.SEResNet50, Stem7x7(8), gate=SE)),
        partial(RESNET, gate="se_module", stride_at=1, legacy=True),
    ),
    "legacy se basic": (
        lineage(shrunk(keras_cnns.SEResNet18, Stem7x7(8), gate=SE)),
        partial(RESNET, gate="se_module", legacy=True, basic=True),
    ),
    "resnet v2": (
        shrunk(keras_cnns.ResNet50V2, StemConv7x7(8)),
        V2,
    ),
    "sknet": (
        shrunk(keras_cnns.SKNet50, Stem7x7(8), spatial=SelectiveKernel(groups=2), inner=1),
        partial(reference.sknet, stages=STAGES, classes=CLASSES),
    ),
    "resnest": (
        shrunk(keras_cnns.ResNeSt50, DeepStem(8)),
        partial(reference.resnest, stages=STAGES, classes=CLASSES),
    ),
    "resnest 2s2x": (
        shrunk(keras_cnns.ResNeSt50, DeepStem(8), spatial=SplitAttention(2, 2)),
        partial(RESNEST, cards=2),
    ),
    "repvgg g2": (
        replace(keras_cnns.RepVGGB1G2, row=replace(REPVGG, unit=grouped)),
        partial(reference.repvgg, stages=((2, 8), (3, 12)), classes=CLASSES, groups=2),
    ),
    "repvgg se": (
        replace(keras_cnns.RepVGGD2SE, row=replace(REPVGG, unit=SE_UNIT, stem=RepVGGStem(8, SE_UNIT))),
        partial(reference.repvgg, stages=((2, 8), (3, 12)), classes=CLASSES, gate=True),
    ),
    "vgg": (column(keras_cnns.VGG11, *NARROW), partial(reference.vgg, column=WIDE, classes=CLASSES, side=7)),
    "vgg bn": (
        column(keras_cnns.VGG11BN, *NARROW),
        partial(reference.vgg, column=WIDE, classes=CLASSES, side=7, normed=True),
    ),
}


def made(name, size, seed=0, channels=3):
    """(architecture, state_dict, images, logits of the reference)."""
    architecture, build = CASES[name]
    net = reference.Net(seed)
    x = images(2, *size, channels, seed=seed + 1)
    expected = build(net, x.transpose(0, 3, 1, 2).astype("float64"))
    return architecture, net.weights, x, expected


def loaded(architecture, path, size, **options):
    shape = {"input_shape": (*size, 3), "classes": CLASSES, "classifier_activation": None} | options
    return architecture(weights=path, **shape)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize("name", CASES)
def test_a_file_in_torch_layout_gives_torchs_logits(name, path):
    """An even and an odd size; every tensor is used and every weight is given, or loading would refuse."""
    dense = name.startswith("vgg")
    for size in ((64, 64), (47, 65)):
        architecture, weights, x, expected = made(name, size)
        if dense or size == (64, 64):  # one seed, so one set of weights
            save_file(weights, path)
            model = loaded(architecture, path, size if dense else (None, None))
            assert sum(w.size for w in weights.values()) == model.count_params()
        np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


def test_dense_layers_as_convolutions(path):
    """timm's VGG: 7x7 and 1x1 kernels in place of the dense layers."""
    net, x = reference.Net(), images(1, 224, 224, 3)
    expected = reference.vgg(net, x.transpose(0, 3, 1, 2), WIDE, CLASSES, side=7, timm=True)
    save_file(net.weights, path)
    model = loaded(CASES["vgg"][0], path, (224, 224))
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


def test_repvgg_in_inference_form(path, tmp_path):
    """The file decides: the network comes fused, and is saved as such."""
    net, x = reference.Net(), images(2, 64, 64, 3)
    options = {"stages": ((2, 8), (3, 12)), "classes": CLASSES, "groups": 2, "deployed": True}
    expected = reference.repvgg(net, x.transpose(0, 3, 1, 2), **options)
    save_file(net.weights, path)
    model = loaded(CASES["repvgg g2"][0], path, (64, 64))
    assert not any("1x1" in layer.name for layer in model.layers)
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())
    keras_cnns.save_torch_weights(model, tmp_path / "back.safetensors")
    assert load_file(tmp_path / "back.safetensors").keys() == net.weights.keys()


def test_structure_is_that_of_the_body():
    """Not of the size, the classifier or the precision; but of every stride."""
    a = MINIATURES["resnet50"]
    models = a(), a(classes=3, input_shape=(97, 75, 3)), a(include_top=False)
    assert len({structure(m) for m in models}) == 1
    assert structure(a.with_unit(stride_at=1)()) != structure(models[0])


@pytest.mark.parametrize("name", ["resnet v1.5", "resnet v2", "repvgg se", "vgg bn", "resnest 2s2x"])
def test_what_is_saved_is_what_was_loaded(name, path, tmp_path):
    architecture, weights, _, _ = made(name, (64, 64))
    save_file(weights, path)
    keras_cnns.save_torch_weights(loaded(architecture, path, (64, 64)), tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == weights.keys()
    for key, tensor in weights.items():
        np.testing.assert_array_equal(back[key], tensor, err_msg=key)


# --- refusals ---------------------------------------------------------------------------------------------------


def test_what_does_not_match_is_listed_and_nothing_is_loaded(path):
    architecture, weights, _, _ = made("resnet basic", (64, 64))
    model = loaded(architecture, None, (64, 64))
    before = model.get_weights()
    weights["layer9.0.conv1.weight"] = weights.pop("layer2.1.conv1.weight")
    weights["bn1.bias"] = np.zeros(9, "float32")
    save_file(weights, path)
    given = keras_cnns.weights.loading.given(path, "resnet18")
    with pytest.raises(ValueError, match="does not fit") as caught:
        given.load(model)
    text = str(caught.value)
    assert "1 missing: layer2.1.conv1.weight" in text
    assert "1 surplus: layer9.0.conv1.weight" in text
    assert "bn1.bias (9,), wanted (8,)" in text
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_numbers_that_are_not_finite_are_refused(path):
    architecture, weights, _, _ = made("resnet basic", (64, 64))
    model = loaded(architecture, None, (64, 64))
    before = model.get_weights()
    weights["layer2.1.bn2.running_var"][3] = np.nan
    save_file(weights, path)
    with pytest.raises(ValueError, match=r"layer2.1.bn2.running_var holds numbers that are not finite"):
        keras_cnns.weights.loading.given(path, "resnet18").load(model)
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_another_family_is_refused(path):
    _, weights, _, _ = made("resnet v2", (64, 64))
    save_file(weights, path)
    with pytest.raises(ValueError, match=r"missing: conv1.weight, .*surplus: head.fc"):
        loaded(CASES["resnet v1.5"][0], path, (64, 64))
    with pytest.raises(ValueError, match="no PyTorch library has a network of its layers"):
        MINIATURES["lenet5"](weights=path, classes=10)


def test_networks_that_pytorch_does_not_have(tmp_path):
    for model in (MINIATURES["lenet5"](), MINIATURES["nin_cifar"](), keras_cnns.fuse(MINIATURES["resnet20"]())):
        with pytest.raises(ValueError, match="no PyTorch library has a network"):
            keras_cnns.save_torch_weights(model, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r"\.safetensors"):
        keras_cnns.save_torch_weights(MINIATURES["resnet20"](), tmp_path / "net.pth")
    assert not list(tmp_path.iterdir())


# --- what is adapted --------------------------------------------------------------------------------------------


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="keras_cnns")
    return caplog


@pytest.mark.parametrize("name", ["resnet basic", "resnet v2", "vgg"])
def test_another_number_of_classes(name, path, log):
    architecture, weights, x, _ = made(name, (64, 64))
    save_file(weights, path)
    whole, fresh = (loaded(architecture, path, (64, 64), classes=n) for n in (CLASSES, 3))
    assert fresh(x).shape == (2, 3)
    assert "the classifier of 5 classes is left out; logits starts afresh with 3" in log.text
    assert log.text.count("left out") == 1
    for one, two in zip(whole.layers, fresh.layers, strict=True):
        if one.name != "logits":
            for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"has 5 classes, .* 1000: give classes=5"):
        loaded(architecture, path, (64, 64), classes=None)


def test_no_classifier(path):
    architecture, weights, x, _ = made("vgg", (64, 64))
    save_file(weights, path)
    whole = loaded(architecture, path, (64, 64))
    body = architecture(include_top=False, weights=path)
    np.testing.assert_allclose(
        body(x), keras.Model(whole.input, whole.get_layer("stage5_pool").output)(x), rtol=1e-5, atol=1e-6
    )


def test_other_channels(path, log):
    architecture, weights, _, _ = made("resnet basic", (64, 64))
    save_file(weights, path)
    three = loaded(architecture, path, (64, 64))
    one, four = (loaded(architecture, path, (64, 64), input_shape=(64, 64, n)) for n in (1, 4))
    grey = images(2, 64, 64, 1)
    np.testing.assert_allclose(one(grey), three(np.repeat(grey, 3, axis=-1)), rtol=1e-4, atol=1e-5)
    kernel = weights["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(
        four.get_layer("stem_conv").kernel, kernel[:, :, [0, 1, 2, 0]] * 0.75, rtol=1e-6, atol=1e-7
    )
    assert "the first kernel, stem_conv, has 3 channels; it is summed for 1" in log.text
    assert "it is repeated and scaled for 4" in log.text


def test_both_stem_branches_of_repvgg_are_adapted(path):
    architecture, weights, _, _ = made("repvgg g2", (64, 64))
    save_file(weights, path)
    grey = images(2, 64, 64, 1)
    one, three = (loaded(architecture, path, (64, 64), input_shape=(64, 64, n)) for n in (1, 3))
    np.testing.assert_allclose(one(grey), three(np.repeat(grey, 3, axis=-1)), rtol=1e-4, atol=1e-5)


def test_a_twin_is_named(path, log):
    """v1 and v1.5 have the same tensors; what we saved ourselves says which it is."""
    architecture, weights, _, _ = made("resnet v1.5", (64, 64))
    save_file(weights, path)
    model = loaded(architecture, path, (64, 64))
    assert "does not name its network; resnet50_v1 has weights of the same shapes" in log.text
    log.clear()
    keras_cnns.save_torch_weights(model, path)
    loaded(architecture, path, (64, 64))
    assert "same shapes" not in log.text
    with pytest.raises(ValueError, match="holds weights of resnet50, not of this resnet50_v1"):
        loaded(CASES["resnet v1"][0], path, (64, 64))
    other = replace(CASES["resnet v1"][0], name="resnet50")
    with pytest.raises(ValueError, match="but strides, pools or adds elsewhere than this resnet50"):
        loaded(other, path, (64, 64))


def test_metadata_and_atomic_writing(path):
    model = MINIATURES["resnet20"]()
    keras_cnns.save_torch_weights(model, path)
    with safe_open(path, framework="np") as file:
        assert file.metadata()["architecture"] == "resnet20"
        assert file.metadata()["format"] == "pt"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    x = images(2, 16, 16, 3)
    np.testing.assert_array_equal(MINIATURES["resnet20"](weights=path)(x), model(x))


def test_a_changed_row_with_the_keys_of_another_lineage_is_said(path, log):
    _, weights, _, _ = made("legacy se", (64, 64))
    save_file(weights, path)
    architecture = shrunk(keras_cnns.SEResNet50, Stem7x7(8), gate=SE)
    loaded(architecture, path, (64, 64))
    assert "the row of this seresnet50 was changed and may not be that of the weights" in log.text


def test_the_lineage_of_a_file_decides_the_published_row(path, log):
    """The names say that a file is timm's legacy SENet; the zoo's network is built as it wants it."""
    weights = {"layer0.conv1.weight": np.zeros((64, 3, 7, 7), "float32")}
    save_file(weights, path)
    suited = keras_cnns.SEResNet50.for_weights(path)
    assert suited.row == CHANGES["legacy_senet"](keras_cnns.SEResNet50.row)[0]
    assert suited.row.unit.stride_at == 1
    assert isinstance(keras_cnns.SEResNet18.for_weights(path).row.unit, Basic)
    assert "stem pool in ceil mode, stride on the first 1x1" in log.text
    assert keras_cnns.ResNet50.for_weights("timm/resnet50.a1_in1k") == keras_cnns.ResNet50


# --- hostile and odd files --------------------------------------------------------------------------------------


def crafted(path, header: dict, data: bytes, length: int | None = None):
    text = json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def entry(shape, start, stop, kind="F32"):
    return {"dtype": kind, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    ("header", "data", "length", "fault"),
    [
        ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, b"\0" * 12, None, "cannot be read"),
        ({"a": entry([2], 0, 8)}, b"\0" * 4, None, "cannot be read"),
        ({"a": entry([2], 0, 8)}, b"\0" * 99, None, "cannot be read"),
        ({"a": entry([10**12], 0, 8)}, b"\0" * 8, None, "cannot be read"),
        ({"a": entry([2], 0, 8)}, b"\0" * 8, 2**40, "cannot be read"),
        ({"a": entry([1], 0, 8, "I64")}, b"\0" * 8, None, "weights must be F64, F32, F16, BF16, got a (I64)"),
    ],
    ids=["overlap", "truncated", "longer", "shape bomb", "header bomb", "integers"],
)
def test_hostile_safetensors(header, data, length, fault, path):
    crafted(path, header, data, length)
    with pytest.raises(ValueError, match=re.escape(fault)):
        keras_cnns.ResNet18(weights=path)


def test_half_precision_is_read_as_float32(path, tmp_path):
    import ml_dtypes

    architecture, weights, _, _ = made("resnet basic", (64, 64))
    for kind, dtype in (("F16", np.float16), ("BF16", ml_dtypes.bfloat16)):
        small = {name: w.astype(dtype) for name, w in weights.items()}
        header, data = {}, b""
        for name, w in small.items():
            header[name] = entry(list(w.shape), len(data), len(data) + w.nbytes, kind)
            data += w.tobytes()
        crafted(path, header, data)
        model = loaded(architecture, path, (64, 64))
        kernel = model.get_layer("stem_conv").kernel
        assert kernel.dtype == "float32"
        np.testing.assert_array_equal(kernel, small["conv1.weight"].astype("float32").transpose(2, 3, 1, 0))


def test_integers_beside_the_weights_do_not_disturb(path):
    architecture, weights, x, expected = made("resnet basic", (64, 64))
    weights["bn1.num_batches_tracked"] = np.array(7, "int64")
    save_file(weights, path)
    np.testing.assert_allclose(loaded(architecture, path, (64, 64))(x), expected, rtol=1e-4, atol=1e-4)


def test_a_pickle_without_torch(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (tmp_path / "net.pth").write_bytes(b"not read at all")
    with pytest.raises(ValueError, match="is a pickle, which needs PyTorch"):
        keras_cnns.ResNet18(weights=tmp_path / "net.pth")
    with pytest.raises(
        ValueError, match=r"torchvision/vgg16_bn.IMAGENET1K_V1 is published .*timm/vgg16_bn.tv_in1k does not"
    ):
        keras_cnns.VGG16BN(weights="imagenet")


def test_weights_of_a_trained_run_go_to_pytorch_and_back(path):
    """The layers' names are the same with and without training; statistics travel too."""
    model = randomise(MINIATURES["resnet20"]())
    keras_cnns.save_torch_weights(model, path)
    assert "layer1.0.conv1.weight" in load_file(path)
    again = MINIATURES["resnet20"](weights=path)
    for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
