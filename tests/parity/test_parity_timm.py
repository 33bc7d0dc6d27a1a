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
    assert_equal,
    carry,
    fused_too,
    ours,
    pairs,
    pictures,
    randomise,
    shrunk,
    theirs,
)
from carrying import torch as _torch

import keras_cnns
from keras_cnns.weights.changes import CHANGES

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


# --- ResNet V2, SE, SK, ResNeSt ----------------------------------------------------------------------------------

EXACT = {"attn_layer": partial(timm.layers.SEModule, rd_divisor=1)}  # timm rounds C/16 up to a multiple of 8

RESIDUAL = [
    Case(keras_cnns.ResNet18V2, net("resnetv2_18")),
    Case(shrunk(keras_cnns.ResNet34V2, *SOME), net("resnetv2_34", layers=SOME), SMALL),
    Case(keras_cnns.ResNet50V2, net("resnetv2_50")),
    Case(shrunk(keras_cnns.ResNet101V2, *SOME), net("resnetv2_101", layers=SOME), SMALL),
    Case(keras_cnns.SEResNet18, net("seresnet18", block_args=EXACT)),
    Case(shrunk(keras_cnns.SEResNet34, *SOME), net("seresnet34", block_args=EXACT, layers=SOME), SMALL),
    Case(keras_cnns.SEResNet50, net("seresnet50")),
    Case(shrunk(keras_cnns.SEResNet101, *SOME), net("seresnet101", layers=SOME), SMALL),
    Case(keras_cnns.SEResNeXt50_32x4d, net("seresnext50_32x4d")),
    Case(shrunk(keras_cnns.SEResNeXt101_32x4d, *SOME), net("seresnext101_32x4d", layers=SOME), SMALL),
    Case(keras_cnns.SKNet50, net("skresnext50_32x4d")),
    Case(shrunk(keras_cnns.SKNet101, *SOME), net("skresnext50_32x4d", layers=SOME), SMALL),
    Case(shrunk(keras_cnns.ResNeXt101_32x4d, *SOME), net("resnext101_32x4d", layers=SOME), SMALL),
    Case(keras_cnns.ResNeSt14, net("resnest14d")),
    Case(keras_cnns.ResNeSt50, net("resnest50d")),
    Case(shrunk(keras_cnns.ResNeSt101, *SOME), net("resnest101e", layers=SOME), SMALL),
    Case(shrunk(keras_cnns.ResNeSt50_1s4x24d, *SOME), net("resnest50d_1s4x24d", layers=SOME), SMALL),
    Case(keras_cnns.ResNeSt50_4s2x40d, net("resnest50d_4s2x40d"), SMALL),
]


FUSED = ("resnet18_v2", "seresnet50", "sknet50", "resnest14", "resnest50_4s2x40d")


@pytest.mark.parametrize("case", RESIDUAL, ids=str)
def test_residual_networks(case):
    case.check()


@pytest.mark.parametrize("case", [c for c in RESIDUAL if str(c) in FUSED], ids=str)
def test_fused_networks(case):
    replace(case, sizes=case.sizes[1:]).check(seeds=(2,), also=fused_too)


# --- the SE networks that came from Caffe -----------------------------------------------------------------------


def legacy(architecture):
    row, _ = CHANGES["legacy_senet"](architecture.row)
    return replace(architecture, name=f"legacy_{architecture.name}", row=row)


@pytest.mark.parametrize(
    "case",
    [
        Case(legacy(keras_cnns.SEResNet18), net("legacy_seresnet18")),
        Case(
            legacy(shrunk(keras_cnns.SEResNet50, *SOME)),
            partial(senet.SENet, senet.SEResNetBottleneck, SOME, groups=1, reduction=16),
            SMALL,
        ),
        Case(
            legacy(shrunk(keras_cnns.SEResNeXt50_32x4d, *SOME)),
            partial(senet.SENet, senet.SEResNeXtBottleneck, SOME, groups=32, reduction=16),
            SMALL,
        ),
    ],
    ids=str,
)
def test_legacy_squeeze_and_excitation(case):
    """Their stem, their strides and their basic unit differ from ours: that is what the lineage's change says."""
    case.check()


# --- VGG as a convolution over larger images --------------------------------------------------------------------


def test_fully_convolutional_vgg():
    """timm slides the first dense layer over the map and averages what comes out: VGG's dense evaluation."""
    thin = replace(keras_cnns.VGG11, head=replace(keras_cnns.VGG11.head, units=(64, 64)))
    native = thin(classes=CLASSES, classifier_activation=None)
    net = timm.create_model("vgg11", num_classes=CLASSES).eval()
    net.pre_logits.fc1, net.pre_logits.fc2 = nn.Conv2d(512, 64, 7), nn.Conv2d(64, 64, 1)
    net.head.fc = nn.Linear(64, CLASSES)
    for seed in (0, 1):
        carry(randomise(net, seed), native)
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
    for weight, kernel in pairs(plain, fused):
        np.testing.assert_allclose(
            weight, kernel, rtol=1e-5, atol=1e-5 * np.abs(kernel).max(), err_msg=weight.path
        )
    again = theirs(plain, x)
    assert_equal(again, expected)
    assert_equal(ours(fused, x), again)


D = (2, 3, 3, 1)
SE = {"attn_layer": "se", "attn_kwargs": {"rd_ratio": 0.0625, "rd_divisor": 1}}  # as in its repvgg_d2se
REPVGG = [
    Case(keras_cnns.RepVGGA0, net("repvgg_a0")),
    Case(shrunk(keras_cnns.RepVGGA2, *D), repvgg(D, 1.5, 2.75), SMALL),
    Case(shrunk(keras_cnns.RepVGGB1G2, *D), repvgg(D, 2, 4, 2), SMALL),
    Case(keras_cnns.RepVGGB1G4, net("repvgg_b1g4"), SMALL),
    Case(shrunk(keras_cnns.RepVGGD2SE, *D), repvgg(D, 2.5, 5, **SE), SMALL),
]


@pytest.mark.parametrize("case", REPVGG, ids=str)
def test_repvgg_trained_and_deployed(case):
    case.check(also=deployed)
