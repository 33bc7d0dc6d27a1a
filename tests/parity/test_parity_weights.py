"""Files saved from torchvision's and timm's networks, loaded by `weights=path`: the same logits.

Random weights and statistics; every network of the zoo that one of them has too.
"""

import warnings
from functools import partial

import numpy as np
import pytest
from carrying import TOLERANCE, assert_equal, channels_first, ours, pictures, randomise, theirs
from carrying import torch as _torch
from carrying import torchvision as _torchvision

import keras_cnns
from keras_cnns.weights import registry

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    timm = pytest.importorskip("timm")

from safetensors.numpy import load_file
from safetensors.torch import save_file

pytestmark = pytest.mark.parity

# Ours -> timm's names, where they differ.
NAMES = {f"resnet{depth}_v2": f"resnetv2_{depth}" for depth in (18, 34, 50, 101, 152)}
NAMES |= {"sknet50": "skresnext50_32x4d", "resnest14": "resnest14d", "resnest26": "resnest26d"}
NAMES |= {f"resnest50{kind}": f"resnest50d{kind}" for kind in ("", "_1s4x24d", "_4s2x40d")}
NAMES |= {f"resnest{depth}": f"resnest{depth}e" for depth in (101, 200, 269)}
TORCHVISION = {"alexnet_owt": "alexnet", "googlenet_tv": "googlenet"}
LEGACY = [f"seresnet{depth}" for depth in (18, 34, 50, 101, 152)] + ["seresnext50_32x4d", "seresnext101_32x4d"]
FULL = ("alexnet", "vgg")  # dense heads: the size that they were made for, and another


def torchvision_net(name: str, num_classes: int):
    options = {"init_weights": False} if name.startswith(("googlenet", "vgg")) else {}
    return _torchvision.models.get_model(name, num_classes=num_classes, **options)


def pairs():
    """(architecture, id, torch network of so many classes)."""
    there = set(timm.list_models())
    for name in keras_cnns.list_models():
        if name in TORCHVISION.values():  # as published; torchvision's networks of these names are others
            continue
        other = NAMES.get(name, name)
        if other in there and name not in ("seresnet18", "seresnet34"):  # timm squeezes these to 8, not to C/16
            yield name, f"timm-{other}", partial(timm.create_model, other)
        if TORCHVISION.get(name, name) in _torchvision.models.list_models():
            yield name, f"torchvision-{name}", partial(torchvision_net, TORCHVISION.get(name, name))
        if name in LEGACY:
            yield name, f"timm-legacy_{name}", partial(timm.create_model, f"legacy_{name}")


SHALLOW = {
    "timm-resnet18", "torchvision-resnet50", "timm-resnetv2_50", "timm-seresnet50", "timm-legacy_seresnet18",
    "timm-legacy_seresnet50", "timm-legacy_seresnext50_32x4d", "timm-skresnext50_32x4d", "timm-resnest14d",
    "timm-resnest50d_4s2x40d", "timm-repvgg_a0", "timm-repvgg_b1g4", "torchvision-alexnet_owt", "timm-vgg11",
    "torchvision-vgg11_bn", "torchvision-googlenet_tv", "torchvision-resnext50_32x4d", "timm-wide_resnet50_2",
}  # fmt: skip
CASES = [
    pytest.param(name, net, id=label, marks=[] if label in SHALLOW else pytest.mark.slow)
    for name, label, net in pairs()
]


def saved(net, path, **metadata):
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path, {"format": "pt", **metadata})
    return path


@pytest.mark.parametrize(("name", "net"), CASES)
def test_a_file_gives_the_same_logits(name, net, tmp_path):
    net = randomise(net(num_classes=37).eval(), seed=1)
    path = saved(net, tmp_path / "net.safetensors")
    sizes = ((224, 224), (160, 130)) if name.startswith(FULL) else ((75, 97),)
    if "pre_logits.fc1.weight" in net.state_dict():
        sizes = sizes[:1]  # at other sizes timm's VGG slides its first dense layer, torchvision's pools before it
    for size in sizes:
        options = {"input_shape": (*size, 3), "classes": 37, "classifier_activation": None}
        model = keras_cnns.create_model(name, weights=path, **options)
        x = pictures(*size, seed=3)
        worst = assert_equal(ours(model, x), theirs(net, x))
        print(f"{name}: {size[0]}x{size[1]} {worst:.1e}")


def test_every_network_with_torch_weights_is_compared():
    compared = {case.values[0] for case in CASES}
    assert {e.arch for e in registry.entries().values() if e.source != "keras"} <= compared
    assert set(registry.entries()) >= {f"timm/legacy_{name}.in1k" for name in LEGACY}


@pytest.mark.parametrize(
    ("name", "net"),
    [
        ("resnet18", partial(torchvision_net, "resnet18")),
        ("resnet18_v2", partial(timm.create_model, "resnetv2_18")),
        ("repvgg_a0", partial(timm.create_model, "repvgg_a0")),
        ("resnest14", partial(timm.create_model, "resnest14d")),
        ("googlenet_tv", partial(torchvision_net, "googlenet")),
        ("alexnet_owt", partial(torchvision_net, "alexnet")),
    ],
)
def test_the_way_back(name, net, tmp_path):
    """What we save, their networks load strictly, and say the same."""
    net = randomise(net(num_classes=11).eval(), seed=2)
    options = {"input_shape": (224, 224, 3), "classes": 11, "classifier_activation": None}
    if name == "googlenet_tv":
        options["aux_heads"] = True
    path = saved(net, tmp_path / "theirs.safetensors")
    model = keras_cnns.create_model(name, weights=path, **options)
    keras_cnns.save_torch_weights(model, tmp_path / "ours.safetensors")
    wanted = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    back = load_file(tmp_path / "ours.safetensors")
    assert back.keys() == wanted.keys()
    for key, tensor in back.items():
        np.testing.assert_array_equal(tensor, wanted[key].numpy(), err_msg=key)
    net.load_state_dict({k: _torch.from_numpy(v) for k, v in back.items()}, strict=True)


def test_half_precision_and_pickles(tmp_path):
    net = randomise(torchvision_net("resnet18", 7).eval(), seed=4)
    x = pictures(64, 64, seed=5)
    for kind in (_torch.float16, _torch.bfloat16):
        small = net.to(kind)
        path = saved(small, tmp_path / "half.safetensors")
        _torch.save(small.state_dict(), tmp_path / "half.pth")
        _torch.save({"state_dict": {f"module.{k}": v for k, v in small.state_dict().items()}}, tmp_path / "n.pth")
        expected = theirs(small.float(), x)
        for file in (path, tmp_path / "half.pth", tmp_path / "n.pth"):
            model = keras_cnns.ResNet18(
                weights=file, classes=7, classifier_activation=None, input_shape=(64, 64, 3)
            )
            assert_equal(ours(model, x), expected)


class Trap:
    """Unpickled, it would call something."""

    def __reduce__(self):
        return print, ("this must not be printed",)


def test_a_hostile_pickle_is_not_executed(tmp_path, capsys):
    _torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="cannot be read by torch"):
        keras_cnns.ResNet18(weights=tmp_path / "trap.pth")
    assert "must not" not in capsys.readouterr().out


def test_timm_preprocesses_as_the_registry_says():
    """Mean, std, size, crop and filter of every tag, by timm's own table."""
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), "uint8")
    found = 0
    for entry in registry.entries().values():
        config = timm.get_pretrained_cfg(entry.name.removeprefix("timm/")) if entry.source == "timm" else None
        if config is None:
            continue
        found += 1
        mean, std = (np.array(v, "float32") for v in (config.mean, config.std))
        np.testing.assert_allclose(entry.preprocessing(x), (x / np.float32(255) - mean) / std, atol=2e-6)
        size = (config.test_input_size or config.input_size)[-1]
        assert (entry.eval_size, entry.crop_pct) == (size, config.test_crop_pct or config.crop_pct), entry.name
        assert entry.interpolation == config.interpolation
        assert entry.licence == config.license or not entry.on_hub, entry.name
    assert found > 80


def test_torchvision_preprocesses_as_the_registry_says():
    from torchvision.transforms import InterpolationMode

    x = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), "uint8")
    for entry in registry.entries().values():
        if entry.source != "torchvision":
            continue
        weights = _torchvision.models.get_model_weights(entry.name.split("/")[1].split(".")[0])[entry.tag]
        preset = weights.transforms()
        assert (entry.eval_size, entry.resized) == (preset.crop_size[0], preset.resize_size[0]), entry.name
        assert InterpolationMode(entry.interpolation) == preset.interpolation
        assert weights.url == entry.location
        assert entry.params == weights.meta["num_params"]
        if entry.arch != "googlenet_tv":  # its network maps this to [-1, 1] itself
            normalised = (
                channels_first(x / np.float32(255)).numpy() - np.reshape(preset.mean, (3, 1, 1))
            ) / np.reshape(preset.std, (3, 1, 1))
            np.testing.assert_allclose(
                entry.preprocessing(x), normalised.transpose(0, 2, 3, 1), atol=TOLERANCE / 50
            )
