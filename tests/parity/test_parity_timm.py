"""Our networks and timm's: the same function of the same weights.

Shallow networks at full depth, deep ones with fewer units a stage in both libraries.
"""

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from carrying import (
    CLASSES,
    Case,
    Keys,
    assert_equal,
    carry,
    convs,
    fused_too,
    ours,
    pairs,
    pictures,
    randomise,
    shrunk,
    theirs,
    vgg_names,
)
from carrying import torch as _torch

import keras_cnns
from keras_cnns.blocks import SqueezeExcite
from keras_cnns.blocks.conv import conv_norm_relu, relu
from keras_cnns.layers import CeilMaxPooling2D

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    timm = pytest.importorskip("timm")
    from timm.models import byobnet, senet
    from timm.utils.model import reparameterize_model

pytestmark = pytest.mark.parity
nn = _torch.nn

SMALL = ((128, 128), (97, 75))
SOME = (1, 2, 1, 2)


def net(name: str, **options):
    return partial(timm.create_model, name, pretrained=False, **options)


# --- names ------------------------------------------------------------------------------------------------------

STEM = {"stem_conv": "conv1", "stem_conv_norm": "bn1", "logits": "fc"}
SHORTCUT = {"shortcut": "downsample.0", "shortcut_norm": "downsample.1"}
CONVS = {f"conv{i}": f"conv{i}" for i in (1, 2, 3)} | {f"conv{i}_norm": f"bn{i}" for i in (1, 2, 3)} | SHORTCUT
PLACE = "layer{s}.{u0}."

RESNET = Keys(STEM, CONVS | {"gate_reduce": "se.fc1", "gate_expand": "se.fc2"}, PLACE)
LEGACY = Keys(
    {"stem_conv": "layer0.conv1", "stem_conv_norm": "layer0.bn1", "logits": "last_linear"},
    CONVS | {"gate_reduce": "se_module.fc1", "gate_expand": "se_module.fc2"},
    PLACE,
)
SKNET = Keys(
    STEM,
    convs(
        {
            "conv1": "conv1",
            "conv2_branch1": "conv2.paths.0",
            "conv2_branch2": "conv2.paths.1",
            "conv3": "conv3",
        },
        "{}.conv",
        "{}.bn",
    )
    | {"conv2_reduce": "conv2.attn.fc_reduce", "conv2_reduce_norm": "conv2.attn.bn"}
    | {"conv2_select": "conv2.attn.fc_select"}
    | SHORTCUT,
    PLACE,
)
RESNEST = Keys(
    {
        "stem_conv1": "conv1.0",
        "stem_conv1_norm": "conv1.1",
        "stem_conv2": "conv1.3",
        "stem_conv2_norm": "conv1.4",
        "stem_conv3": "conv1.6",
        "stem_conv3_norm": "bn1",
        "logits": "fc",
    },
    {
        **{f"conv{i}": f"conv{i}" for i in (1, 3)},
        **{f"conv{i}_norm": f"bn{i}" for i in (1, 3)},
        "conv2": "conv2.conv",
        "conv2_norm": "conv2.bn0",
        "conv2_reduce": "conv2.fc1",
        "conv2_reduce_norm": "conv2.bn1",
        "conv2_select": "conv2.fc2",
        "shortcut": "downsample.1",
        "shortcut_norm": "downsample.2",
    },
    PLACE,
)


def v2_keys(last: int) -> Keys:
    """timm names a norm after the convolution behind it, ours opens the unit or closes the convolution before."""
    norms = {"preact_norm": "norm1"} | {f"conv{i}_norm": f"norm{i + 1}" for i in range(1, last)}
    inside = norms | {f"conv{i}": f"conv{i}" for i in range(1, last + 1)} | {"shortcut": "downsample.conv"}
    return Keys(
        {"stem_conv": "stem.conv", "finish_norm": "norm", "logits": "head.fc"}, inside, "stages.{s0}.blocks.{u0}."
    )


def repvgg_keys(branches: dict[str, str]) -> Keys:
    inside = branches | {"gate_reduce": "attn.fc1", "gate_expand": "attn.fc2"}
    stem = {f"stem_{ours}": f"stem.{theirs}" for ours, theirs in inside.items()}
    return Keys(stem | {"logits": "head.fc"}, inside, "stages.{s0}.{u0}.")


TRAINED = repvgg_keys(
    convs({"3x3": "conv_kxk", "1x1": "conv_1x1"}, "{}.conv", "{}.bn") | {"identity_norm": "identity"}
)
DEPLOYED = repvgg_keys({"3x3": "reparam_conv"})

# --- ResNet V2, SE, SK, ResNeSt ----------------------------------------------------------------------------------

EXACT = {"attn_layer": partial(timm.layers.SEModule, rd_divisor=1)}  # timm rounds C/16 up to a multiple of 8

RESIDUAL = [
    Case(keras_cnns.ResNet18V2, net("resnetv2_18"), v2_keys(2)),
    Case(shrunk(keras_cnns.ResNet34V2, *SOME), net("resnetv2_34", layers=SOME), v2_keys(2), SMALL),
    Case(keras_cnns.ResNet50V2, net("resnetv2_50"), v2_keys(3)),
    Case(shrunk(keras_cnns.ResNet101V2, *SOME), net("resnetv2_101", layers=SOME), v2_keys(3), SMALL),
    Case(keras_cnns.SEResNet18, net("seresnet18", block_args=EXACT), RESNET),
    Case(shrunk(keras_cnns.SEResNet34, *SOME), net("seresnet34", block_args=EXACT, layers=SOME), RESNET, SMALL),
    Case(keras_cnns.SEResNet50, net("seresnet50"), RESNET),
    Case(shrunk(keras_cnns.SEResNet101, *SOME), net("seresnet101", layers=SOME), RESNET, SMALL),
    Case(keras_cnns.SEResNeXt50_32x4d, net("seresnext50_32x4d"), RESNET),
    Case(shrunk(keras_cnns.SEResNeXt101_32x4d, *SOME), net("seresnext101_32x4d", layers=SOME), RESNET, SMALL),
    Case(keras_cnns.SKNet50, net("skresnext50_32x4d"), SKNET),
    Case(shrunk(keras_cnns.SKNet101, *SOME), net("skresnext50_32x4d", layers=SOME), SKNET, SMALL),
    Case(shrunk(keras_cnns.ResNeXt101_32x4d, *SOME), net("resnext101_32x4d", layers=SOME), RESNET, SMALL),
    Case(keras_cnns.ResNeSt14, net("resnest14d"), RESNEST),
    Case(keras_cnns.ResNeSt50, net("resnest50d"), RESNEST),
    Case(shrunk(keras_cnns.ResNeSt101, *SOME), net("resnest101e", layers=SOME), RESNEST, SMALL),
    Case(shrunk(keras_cnns.ResNeSt50_1s4x24d, *SOME), net("resnest50d_1s4x24d", layers=SOME), RESNEST, SMALL),
    Case(keras_cnns.ResNeSt50_4s2x40d, net("resnest50d_4s2x40d"), RESNEST, SMALL),
]


FUSED = ("resnet18_v2", "seresnet50", "sknet50", "resnest14", "resnest50_4s2x40d")


@pytest.mark.parametrize("case", RESIDUAL, ids=str)
def test_residual_networks(case):
    case.check()


@pytest.mark.parametrize("case", [c for c in RESIDUAL if str(c) in FUSED], ids=str)
def test_fused_networks(case):
    replace(case, sizes=case.sizes[1:]).check(seeds=(2,), also=fused_too)


# --- the SE networks that came from Caffe -----------------------------------------------------------------------


def ceil_stem(x):
    """The stem whose pool is not padded but may stand over the far edge."""
    return CeilMaxPooling2D(3, 2, name="stem_pool")(conv_norm_relu(x, 64, 7, stride=2, name="stem_conv"))


def gate_behind_relu(x, name: str):
    """The basic unit of these files has a ReLU before the gate, which neither paper nor bottleneck has."""
    return SqueezeExcite(16)(relu(x, name=f"{name}_relu"), name)


def legacy(architecture, **changes):
    row = replace(architecture.row.with_unit(**changes), stem=ceil_stem)
    return replace(architecture, name=f"legacy_{architecture.name}", row=row)


@pytest.mark.parametrize(
    "case",
    [
        Case(legacy(keras_cnns.SEResNet18, gate=gate_behind_relu), net("legacy_seresnet18"), LEGACY),
        Case(
            legacy(shrunk(keras_cnns.SEResNet50, *SOME), stride_at=1),
            partial(senet.SENet, senet.SEResNetBottleneck, SOME, groups=1, reduction=16),
            LEGACY,
            SMALL,
        ),
        Case(
            legacy(shrunk(keras_cnns.SEResNeXt50_32x4d, *SOME)),
            partial(senet.SENet, senet.SEResNeXtBottleneck, SOME, groups=32, reduction=16),
            LEGACY,
            SMALL,
        ),
    ],
    ids=str,
)
def test_legacy_squeeze_and_excitation(case):
    """Their stem and their basic unit differ from ours; with those exchanged, the rest is ours."""
    case.check()


# --- VGG as a convolution over larger images --------------------------------------------------------------------


def test_fully_convolutional_vgg():
    """timm slides the first dense layer over the map and averages what comes out: VGG's dense evaluation."""
    thin = replace(keras_cnns.VGG11, head=replace(keras_cnns.VGG11.head, units=(64, 64)))
    native = thin(classes=CLASSES, classifier_activation=None)
    head = {"fc1": "pre_logits.fc1", "fc2": "pre_logits.fc2", "logits": "head.fc"}
    net = timm.create_model("vgg11", num_classes=CLASSES).eval()
    net.pre_logits.fc1, net.pre_logits.fc2 = nn.Conv2d(512, 64, 7), nn.Conv2d(64, 64, 1)
    net.head.fc = nn.Linear(64, CLASSES)
    for seed in (0, 1):
        carry(randomise(net, seed), native, Keys(vgg_names(keras_cnns.VGG11.row) | head))
        model = keras_cnns.fully_convolutional(native)
        for size in ((224, 224), (290, 257)):
            x = pictures(*size, seed)
            answers = [grid.mean(axis=(1, 2)) for grid in ours(model, x)]
            worst = assert_equal(answers, theirs(net, x))
            print(f"vgg11, fully convolutional: {size[0]}x{size[1]} {worst:.1e}; seed {seed}")


# --- RepVGG: both forms -----------------------------------------------------------------------------------------


def repvgg(d, a, b, groups=0, **options):
    """A RepVGG of other depths by timm's own tables."""

    def build(num_classes):
        blocks = byobnet._rep_vgg_bcfg(d=d, wf=(a, a, a, b), groups=groups)
        stem = min(64, int(64 * a))
        return byobnet.ByobNet(byobnet.ByoModelCfg(blocks, stem_type="rep", stem_chs=stem, **options), num_classes)

    return build


def deployed(net, model, x, expected):
    """Ours fused equals theirs re-parameterised, kernel by kernel and in what comes out."""
    plain, fused = reparameterize_model(net), keras_cnns.fuse(model)
    for weight, kernel in pairs(plain, fused, DEPLOYED):
        np.testing.assert_allclose(
            weight, kernel, rtol=1e-5, atol=1e-5 * np.abs(kernel).max(), err_msg=weight.path
        )
    again = theirs(plain, x)
    assert_equal(again, expected)
    assert_equal(ours(fused, x), again)


D = (2, 3, 3, 1)
SE = {"attn_layer": "se", "attn_kwargs": {"rd_ratio": 0.0625, "rd_divisor": 1}}  # as in its repvgg_d2se
REPVGG = [
    Case(keras_cnns.RepVGGA0, net("repvgg_a0"), TRAINED),
    Case(shrunk(keras_cnns.RepVGGA2, *D), repvgg(D, 1.5, 2.75), TRAINED, SMALL),
    Case(shrunk(keras_cnns.RepVGGB1G2, *D), repvgg(D, 2, 4, 2), TRAINED, SMALL),
    Case(keras_cnns.RepVGGB1G4, net("repvgg_b1g4"), TRAINED, SMALL),
    Case(shrunk(keras_cnns.RepVGGD2SE, *D), repvgg(D, 2.5, 5, **SE), TRAINED, SMALL),
]


@pytest.mark.parametrize("case", REPVGG, ids=str)
def test_repvgg_trained_and_deployed(case):
    case.check(also=deployed)
