"""Our networks and torchvision's: the same function of the same weights.

Shallow networks at full depth, deep ones with fewer units a stage in both libraries.
"""

from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
from carrying import (
    CLASSES,
    TOLERANCE,
    Case,
    Keys,
    assert_equal,
    carry,
    convs,
    difference,
    fused_too,
    ours,
    pictures,
    randomise,
    shrunk,
    theirs,
    vgg_names,
)
from carrying import torch as _torch
from carrying import torchvision as _torchvision

import keras_cnns

pytestmark = pytest.mark.parity

nn, models = _torch.nn, _torchvision.models

RESNET = Keys(
    {"stem_conv": "conv1", "stem_conv_norm": "bn1", "logits": "fc"},
    {
        **{f"conv{i}": f"conv{i}" for i in (1, 2, 3)},
        **{f"conv{i}_norm": f"bn{i}" for i in (1, 2, 3)},
        "shortcut": "downsample.0",
        "shortcut_norm": "downsample.1",
    },
    "layer{s}.{u0}.",
)
BASIC, BOTTLENECK = models.resnet.BasicBlock, models.resnet.Bottleneck
SOME = (1, 2, 1, 2)
SMALL = ((128, 128), (97, 75))


def resnet(block, layers, groups=1, width=64):
    return partial(models.ResNet, block, layers, groups=groups, width_per_group=width)


RESNETS = [
    Case(keras_cnns.ResNet18, models.resnet18, RESNET),
    Case(shrunk(keras_cnns.ResNet34, *SOME), resnet(BASIC, SOME), RESNET, SMALL),
    Case(keras_cnns.ResNet50, models.resnet50, RESNET),
    Case(shrunk(keras_cnns.ResNet101, *SOME), resnet(BOTTLENECK, SOME), RESNET, SMALL),
    Case(shrunk(keras_cnns.ResNet152, 2, 1, 2, 1), resnet(BOTTLENECK, (2, 1, 2, 1)), RESNET, SMALL),
    Case(keras_cnns.WideResNet50_2, models.wide_resnet50_2, RESNET, SMALL),
    Case(shrunk(keras_cnns.WideResNet101_2, *SOME), resnet(BOTTLENECK, SOME, 1, 128), RESNET, SMALL),
    Case(keras_cnns.ResNeXt50_32x4d, models.resnext50_32x4d, RESNET),
    Case(shrunk(keras_cnns.ResNeXt101_32x4d, *SOME), resnet(BOTTLENECK, SOME, 32, 4), RESNET, SMALL),
    Case(shrunk(keras_cnns.ResNeXt101_32x8d, *SOME), resnet(BOTTLENECK, SOME, 32, 8), RESNET, SMALL),
    Case(shrunk(keras_cnns.ResNeXt101_64x4d, *SOME), resnet(BOTTLENECK, SOME, 64, 4), RESNET, SMALL),
]


@pytest.mark.parametrize("case", RESNETS, ids=str)
def test_residual_networks(case):
    case.check()


def test_a_swap_would_be_seen():
    """Two norms of equal shape, exchanged in one unit, make far more than the tolerance."""
    net, (model, _) = RESNETS[0].models()
    carry(randomise(net, 0), model, RESNET)
    two = [model.get_layer(f"stage2_unit2_conv{i}_norm") for i in (1, 2)]
    for layer, weights in zip(two, [layer.get_weights() for layer in reversed(two)], strict=True):
        layer.set_weights(weights)
    x = pictures(97, 75, 0)
    assert difference(ours(model, x), theirs(net, x)) > 100 * TOLERANCE


# --- AlexNet and VGG: dense heads, which torchvision feeds by adaptive pooling -----------------------------------

ALEXNET = Keys(
    {f"conv{i}": f"features.{j}" for i, j in enumerate((0, 3, 6, 8, 10), 1)}
    | {"fc6": "classifier.1", "fc7": "classifier.4", "logits": "classifier.6"}
)


def thin(architecture):
    """With hidden layers of 64 units; the full ones, nine tenths of the weights, are tested on VGG-11."""
    return replace(architecture, name=f"{architecture.name}_thin", head=replace(architecture.head, units=(64, 64)))


def thin_head(build):
    def net(num_classes):
        made = build(num_classes=num_classes, init_weights=False)
        made.classifier[0] = nn.Linear(512 * 7 * 7, 64)
        made.classifier[3] = nn.Linear(64, 64)
        made.classifier[6] = nn.Linear(64, num_classes)
        return made

    return net


VGG_HEAD = {"fc1": "classifier.0", "fc2": "classifier.3", "logits": "classifier.6"}


def vgg(architecture, build, **options):
    return Case(architecture, build, Keys(vgg_names(architecture.row) | VGG_HEAD), **options)


NATIVE = ((224, 224), (239, 233))  # both give maps of 7x7, in AlexNet of 6x6
DENSE = [
    Case(keras_cnns.AlexNetOWT, models.alexnet, ALEXNET, sizes=((224, 224), (229, 235))),
    vgg(keras_cnns.VGG11, partial(models.vgg11, init_weights=False), sizes=NATIVE),
    vgg(thin(keras_cnns.VGG13), thin_head(models.vgg13), sizes=NATIVE),
    vgg(thin(keras_cnns.VGG16), thin_head(models.vgg16), sizes=((224, 224),)),
    vgg(thin(keras_cnns.VGG19), thin_head(models.vgg19), sizes=((224, 224),)),
    vgg(thin(keras_cnns.VGG11BN), thin_head(models.vgg11_bn), sizes=NATIVE),
    vgg(thin(keras_cnns.VGG13BN), thin_head(models.vgg13_bn), sizes=((224, 224),)),
    vgg(thin(keras_cnns.VGG16BN), thin_head(models.vgg16_bn), sizes=NATIVE),
    vgg(thin(keras_cnns.VGG19BN), thin_head(models.vgg19_bn), sizes=((224, 224),)),
]


@pytest.mark.parametrize("case", DENSE, ids=str)
def test_networks_with_dense_heads(case):
    case.check()


@pytest.mark.parametrize("size", [(97, 130), (300, 290)], ids=str)
@pytest.mark.parametrize("case", [DENSE[0], DENSE[7]], ids=str)
def test_dense_heads_at_other_sizes(case, size):
    """Ours, with torchvision's adaptive pooling set between body and head."""
    net = case.net(num_classes=CLASSES).eval()
    image = keras.Input((*size, 3))
    side = 6 if case is DENSE[0] else 7
    x = keras.layers.AdaptiveAveragePooling2D(side)(case.architecture.row(image))
    model = keras.Model(image, case.architecture.head(x, CLASSES, None))
    for seed in (2, 3):
        carry(randomise(net, seed), model, case.keys)
        x = pictures(*size, seed)
        worst = assert_equal(ours(model, x), theirs(net, x))
        print(f"{case} with adaptive pooling, {size}, seed {seed}: {worst:.1e}")


# --- GoogLeNet --------------------------------------------------------------------------------------------------


def googlenet_keys() -> Keys:
    modules = {"1x1": "branch1", "3x3_reduce": "branch2.0", "3x3": "branch2.1"}
    modules |= {"5x5_reduce": "branch3.0", "5x5": "branch3.1", "pool_proj": "branch4.1"}
    names = {"conv1": "conv1", "conv2_reduce": "conv2", "conv2": "conv3"}
    for place in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        names |= {f"inception_{place}_{ours}": f"inception{place}.{theirs}" for ours, theirs in modules.items()}
    names |= {f"aux{i}_conv": f"aux{i}.conv" for i in (1, 2)}
    found = convs(names, "{}.conv", "{}.bn")
    for i in (1, 2):
        found |= {f"aux{i}_fc": f"aux{i}.fc1", f"aux{i}_logits": f"aux{i}.fc2"}
    return Keys(found | {"logits": "fc"})


def googlenet(num_classes, **options):
    return models.googlenet(num_classes=num_classes, init_weights=False, aux_logits=False, **options)


class WithHeads(models.GoogLeNet):
    """The auxiliary heads are computed while the network, though none of its layers, is in training."""

    def __init__(self, num_classes):
        super().__init__(num_classes, init_weights=False)

    def eval(self):
        super().eval()
        self.training = True
        return self

    def forward(self, x):
        main, aux2, aux1 = super().forward(x)
        return main, aux1, aux2


# The ceil-mode pools see even and odd maps.
GOOGLENETS = {
    "alone, open size": Case(keras_cnns.GoogLeNetTV, googlenet, googlenet_keys(), ((224, 224), (97, 130))),
    "with heads, fixed sizes": Case(
        keras_cnns.GoogLeNetTV, WithHeads, googlenet_keys(), ((224, 224), (110, 93)), {"aux_heads": True}
    ),
}


@pytest.mark.parametrize("which", GOOGLENETS)
def test_googlenet(which):
    GOOGLENETS[which].check()


def test_googlenet_takes_its_own_range():
    """torchvision maps its usual range to the one of TF inside the network; ours preprocesses so."""
    x = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    net, architecture = googlenet(CLASSES, transform_input=True).eval(), keras_cnns.GoogLeNetTV
    model = architecture(classes=CLASSES, classifier_activation=None, input_shape=(64, 64, 3))
    carry(randomise(net, 0), model, googlenet_keys())
    usual, own = keras_cnns.ResNet50.preprocess_input(x), architecture.preprocess_input(x)
    (found,), (expected,) = ours(model, own), theirs(net, usual)
    assert np.abs(found - expected).max() <= TOLERANCE * expected.std()


FUSED = [RESNETS[0], RESNETS[7], DENSE[5], GOOGLENETS["alone, open size"]]


@pytest.mark.parametrize("case", FUSED, ids=str)
def test_fused_networks(case):
    replace(case, sizes=case.sizes[1:2]).check(seeds=(2,), also=fused_too)
