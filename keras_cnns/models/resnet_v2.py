"""He, Zhang, Ren & Sun (2016): Identity Mappings in Deep Residual Networks. arXiv 1603.05027.

Norm and ReLU precede each convolution and nothing follows the sum, so an identity path connects all units. The
last sum is normalised at the end (`norm_relu`). The orders (a) to (e) that figure 4 compares are units of
`keras_cnns.blocks`: `Basic`, `NormAfterAddition`, `ReluBeforeAddition`, `ReluPreActivation`, `PreActivationBasic`.
"""

from dataclasses import replace

from keras_cnns.architecture import Architecture
from keras_cnns.blocks import (
    PreActivationBasic,
    PreActivationBottleneck,
    Staged,
    StemConv3x3,
    StemConv7x7,
    ZeroPad,
    norm_relu,
)
from keras_cnns.models.resnet import RESNET18, RESNET34, RESNET101, RESNET152, cifar, imagenet
from keras_cnns.preprocessing import TF

PAPER = "He et al. 2016, Identity Mappings in Deep Residual Networks, arXiv 1603.05027"

# --- ImageNet (table 5; timm's form: stem without norm, pool, units, BN-ReLU; stride on the 3x3) ----------------

RESNET18_V2 = replace(RESNET18, unit=PreActivationBasic(), stem=StemConv7x7(), finish=norm_relu)
RESNET34_V2 = replace(RESNET18_V2, depths=RESNET34.depths)
RESNET50_V2 = replace(RESNET34_V2, unit=PreActivationBottleneck())
RESNET101_V2 = replace(RESNET50_V2, depths=RESNET101.depths)
RESNET152_V2 = replace(RESNET50_V2, depths=RESNET152.depths)
RESNET200_V2 = replace(RESNET50_V2, depths=(3, 24, 36, 3))


def _v2(depth: int, row: Staged) -> Architecture:
    citation = f"ResNet-{depth} V2, table 5 of {PAPER}; stride on the 3x3 as in timm."
    return replace(imagenet(f"resnet{depth}_v2", row, citation), preprocessing=TF)


ResNet18V2 = _v2(18, RESNET18_V2)
ResNet34V2 = _v2(34, RESNET34_V2)
ResNet50V2 = _v2(50, RESNET50_V2)
ResNet101V2 = _v2(101, RESNET101_V2)
ResNet152V2 = _v2(152, RESNET152_V2)
ResNet200V2 = _v2(200, RESNET200_V2)

# --- CIFAR (section 4). A basic unit has two layers, a bottleneck three: 6n + 2 and 9n + 2 -----------------------

# In the paper the first unit adds the activated stem; here, as in the public versions, it adds the raw one. The
# bottleneck nets equal the paper's: their first unit projects, and a projection reads the activation.
ResNet110V2 = cifar(
    "resnet110_v2",
    Staged((18,) * 3, PreActivationBasic(shortcut=ZeroPad()), (16, 32, 64), StemConv3x3(16), finish=norm_relu),
    f"ResNet-110 V2 for CIFAR, table 2 of {PAPER}.",
)


def cifar_bottleneck_row(depth: int) -> Staged:
    """The CIFAR column of 9n + 2 layers, stages of 64, 128 and 256 channels; the first 1x1 strides."""
    unit = PreActivationBottleneck(stride_at=1)
    return Staged(((depth - 2) // 9,) * 3, unit, (16, 32, 64), StemConv3x3(16), finish=norm_relu)


def _bottleneck(depth: int) -> Architecture:
    citation = f"ResNet-{depth} V2 for CIFAR, table 4 of {PAPER}; stride on the first 1x1 as released."
    return cifar(f"resnet{depth}_v2", cifar_bottleneck_row(depth), citation)


ResNet164V2 = _bottleneck(164)
ResNet1001V2 = _bottleneck(1001)
