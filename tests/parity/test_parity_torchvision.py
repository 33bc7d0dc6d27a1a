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
    assert_equal,
    carry,
    difference,
    fused_too,
    ours,
    pictures,
    randomise,
    shrunk,
    theirs,
)
from carrying import torch as _torch
from carrying import torchvision as _torchvision

import keras_cnns

pytestmark = pytest.mark.parity

nn, models = _torch.nn, _torchvision.models

BASIC, BOTTLENECK = models.resnet.BasicBlock, models.resnet.Bottleneck
SOME = (1, 2, 1, 2)
SMALL = ((128, 128), (97, 75))


def resnet(block, layers, groups=1, width=64):
    return partial(models.ResNet, block, layers, groups=groups, width_per_group=width)


RESNETS = [
    Case(keras_cnns.ResNet18, models.resnet18),
    Case(shrunk(keras_cnns.ResNet34, *SOME), resnet(BASIC, SOME), SMALL),
    Case(keras_cnns.ResNet50, models.resnet50),
    Case(shrunk(keras_cnns.ResNet101, *SOME), resnet(BOTTLENECK, SOME), SMALL),
    Case(shrunk(keras_cnns.ResNet152, 2, 1, 2, 1), resnet(BOTTLENECK, (2, 1, 2, 1)), SMALL),
    Case(keras_cnns.WideResNet50_2, models.wide_resnet50_2, SMALL),
    Case(shrunk(keras_cnns.WideResNet101_2, *SOME), resnet(BOTTLENECK, SOME, 1, 128), SMALL),
    Case(keras_cnns.ResNeXt50_32x4d, models.resnext50_32x4d),
    Case(shrunk(keras_cnns.ResNeXt101_32x4d, *SOME), resnet(BOTTLENECK, SOME, 32, 4), SMALL),
    Case(shrunk(keras_cnns.ResNeXt101_32x8d, *SOME), resnet(BOTTLENECK, SOME, 32, 8), SMALL),
    Case(shrunk(keras_cnns.ResNeXt101_64x4d, *SOME), resnet(BOTTLENECK, SOME, 64, 4), SMALL),
]


@pytest.mark.parametrize("case", RESNETS, ids=str)
def test_residual_networks(case):
    case.check()


def test_a_swap_would_be_seen():
    """Two norms of equal shape, exchanged in one unit, make far more than the tolerance."""
    net, (model, _) = RESNETS[0].models()
    carry(randomise(net, 0), model)
    two = [model.get_layer(f"stage2_unit2_conv{i}_norm") for i in (1, 2)]
    for layer, weights in zip(two, [layer.get_weights() for layer in reversed(two)], strict=True):
        layer.set_weights(weights)
    x = pictures(97, 75, 0)
    assert difference(ours(model, x), theirs(net, x)) > 100 * TOLERANCE


# --- AlexNet and VGG: dense heads, which torchvision feeds by adaptive pooling -----------------------------------


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


NATIVE = ((224, 224), (239, 233))  # both give maps of 7x7, in AlexNet of 6x6
DENSE = [
    Case(keras_cnns.AlexNetOWT, models.alexnet, sizes=((224, 224), (229, 235))),
    Case(keras_cnns.VGG11, partial(models.vgg11, init_weights=False), sizes=NATIVE),
    Case(thin(keras_cnns.VGG13), thin_head(models.vgg13), sizes=NATIVE),
    Case(thin(keras_cnns.VGG16), thin_head(models.vgg16), sizes=((224, 224),)),
    Case(thin(keras_cnns.VGG19), thin_head(models.vgg19), sizes=((224, 224),)),
    Case(thin(keras_cnns.VGG11BN), thin_head(models.vgg11_bn), sizes=NATIVE),
    Case(thin(keras_cnns.VGG13BN), thin_head(models.vgg13_bn), sizes=((224, 224),)),
    Case(thin(keras_cnns.VGG16BN), thin_head(models.vgg16_bn), sizes=NATIVE),
    Case(thin(keras_cnns.VGG19BN), thin_head(models.vgg19_bn), sizes=((224, 224),)),
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
        carry(randomise(net, seed), model)
        x = pictures(*size, seed)
        worst = assert_equal(ours(model, x), theirs(net, x))
        print(f"{case} with adaptive pooling, {size}, seed {seed}: {worst:.1e}")


# --- GoogLeNet --------------------------------------------------------------------------------------------------


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
    "alone, open size": Case(keras_cnns.GoogLeNetTV, googlenet, ((224, 224), (97, 130))),
    "with heads, fixed sizes": Case(
        keras_cnns.GoogLeNetTV, WithHeads, ((224, 224), (110, 93)), {"aux_heads": True}
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
    carry(randomise(net, 0), model)
    usual, own = keras_cnns.ResNet50.preprocess_input(x), architecture.preprocess_input(x)
    (found,), (expected,) = ours(model, own), theirs(net, usual)
    assert np.abs(found - expected).max() <= TOLERANCE * expected.std()


FUSED = [RESNETS[0], RESNETS[7], DENSE[5], GOOGLENETS["alone, open size"]]


@pytest.mark.parametrize("case", FUSED, ids=str)
def test_fused_networks(case):
    replace(case, sizes=case.sizes[1:2]).check(seeds=(2,), also=fused_too)
