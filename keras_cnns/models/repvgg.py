"""Ding, Zhang, Ma, Han, Ding & Sun (2021): RepVGG, Making VGG-style ConvNets Great Again. arXiv 2101.03697.

Each 3x3 is trained with a parallel 1x1 and identity branch; deployed, the network is a plain stack of 3x3 and ReLU
(`fuse`). These are the training forms.
"""

from collections.abc import Callable
from dataclasses import replace

from keras_cnns.architecture import Architecture
from keras_cnns.blocks import RepVGGStem, RepVGGUnit, SqueezeExcite, Staged
from keras_cnns.models.resnet import imagenet
from keras_cnns.values import by_name

PAPER = "Ding et al. 2021, RepVGG: Making VGG-style ConvNets Great Again, arXiv 2101.03697"

# Table 2: layers of stages 1 to 4 (stage 0 is the stem), all of stride 2.
A = (2, 4, 14, 1)
B = (4, 6, 16, 1)
D2 = (8, 14, 24, 1)  # the release


def repvgg_g2(stage: int, index: int) -> RepVGGUnit:
    """Two groups in every second layer. Stages begin with an odd layer, so the index within the stage suffices."""
    return RepVGGUnit(groups=2 if index % 2 == 0 else 1)


def repvgg_g4(stage: int, index: int) -> RepVGGUnit:
    """Four groups in every second layer."""
    return RepVGGUnit(groups=4 if index % 2 == 0 else 1)


def repvgg_row(depths: tuple[int, ...], a: float, b: float, unit: Callable = RepVGGUnit()) -> Staged:  # noqa: B008
    """Widths 64a, 128a, 256a and 512b (table 2, section 3.4)."""
    widths = tuple(int(w) for w in (64 * a, 128 * a, 256 * a, 512 * b))
    return Staged(depths, unit, widths, RepVGGStem(min(64, widths[0])), strides=(2, 2, 2, 2))


def _repvgg(name: str, row: Staged) -> Architecture:
    cli = f"repvgg_{name.lower().replace('-', '')}"
    return imagenet(cli, row, f"RepVGG-{name}, table 2 of {PAPER}; training form.")


RepVGGA0 = _repvgg("A0", repvgg_row(A, 0.75, 2.5))
RepVGGA1 = _repvgg("A1", repvgg_row(A, 1, 2.5))
RepVGGA2 = _repvgg("A2", repvgg_row(A, 1.5, 2.75))
RepVGGB0 = _repvgg("B0", repvgg_row(B, 1, 2.5))
RepVGGB1 = _repvgg("B1", repvgg_row(B, 2, 4))
RepVGGB1G2 = _repvgg("B1g2", repvgg_row(B, 2, 4, repvgg_g2))
RepVGGB1G4 = _repvgg("B1g4", repvgg_row(B, 2, 4, repvgg_g4))
RepVGGB2 = _repvgg("B2", repvgg_row(B, 2.5, 5))
RepVGGB2G2 = _repvgg("B2g2", repvgg_row(B, 2.5, 5, repvgg_g2))
RepVGGB2G4 = _repvgg("B2g4", repvgg_row(B, 2.5, 5, repvgg_g4))
RepVGGB3 = _repvgg("B3", repvgg_row(B, 3, 5))
RepVGGB3G2 = _repvgg("B3g2", repvgg_row(B, 3, 5, repvgg_g2))
RepVGGB3G4 = _repvgg("B3g4", repvgg_row(B, 3, 5, repvgg_g4))

# A later model of the release: a gate before every ReLU, also in the stem.
D2SE = RepVGGUnit(gate=SqueezeExcite(16))
RepVGGD2SE = imagenet(
    "repvgg_d2se",
    replace(repvgg_row(D2, 2.5, 5, D2SE), stem=RepVGGStem(64, D2SE)),
    f"RepVGG-D2se after {PAPER}; training form, published for 320 pixels.",
)

PARTS = by_name((repvgg_g2, repvgg_g4))
