"""Zhang, Wu, Zhang et al. (2020): ResNeSt, Split-Attention Networks. arXiv 2004.08955.

ResNet-D (deep stem, pooled shortcuts) with split attention in place of the 3x3. Name RsKxDd: radix R, cardinality
K, D channels a group in the first stage; without it 2s1x64d.
"""

from dataclasses import replace

from keras_cnns.blocks import Bottleneck, DeepStem, PooledProjection, SplitAttention
from keras_cnns.models.resnet import RESNET50, imagenet

PAPER = "Zhang et al. 2020, ResNeSt: Split-Attention Networks, arXiv 2004.08955"


def unit(radix: int, cardinality: int, width: int, pool_at: int) -> Bottleneck:
    """The bottleneck RsKxDd; pooling after the split attention (2), or before it (1, the "-fast" models)."""
    spatial = SplitAttention(radix, cardinality, pool_at=pool_at)
    return Bottleneck(spatial, inner=cardinality * width / 64, shortcut=PooledProjection())


# Stem of 32, 32, 64 filters up to ResNeSt-50, then of 64, 64, 128; depths of the release and of GluonCV.
RESNEST50 = replace(RESNET50, unit=unit(2, 1, 64, pool_at=2), stem=DeepStem(64))
RESNEST14 = replace(RESNEST50, depths=(1, 1, 1, 1))
RESNEST26 = replace(RESNEST50, depths=(2, 2, 2, 2))
RESNEST101 = replace(RESNEST50, depths=(3, 4, 23, 3), stem=DeepStem(128))
RESNEST200 = replace(RESNEST101, depths=(3, 24, 36, 3))
RESNEST269 = replace(RESNEST101, depths=(3, 30, 48, 8))

ResNeSt14 = imagenet("resnest14", RESNEST14, f"ResNeSt-14 after {PAPER}; GluonCV.")
ResNeSt26 = imagenet("resnest26", RESNEST26, f"ResNeSt-26 after {PAPER}; GluonCV.")
ResNeSt50 = imagenet("resnest50", RESNEST50, f"ResNeSt-50 of {PAPER}.")
ResNeSt101 = imagenet("resnest101", RESNEST101, f"ResNeSt-101 of {PAPER}.")
ResNeSt200 = imagenet("resnest200", RESNEST200, f"ResNeSt-200 of {PAPER}.")
ResNeSt269 = imagenet("resnest269", RESNEST269, f"ResNeSt-269 of {PAPER}.")

# Ablations of the release, of the "-fast" kind.
ResNeSt50_1s4x24d = imagenet(
    "resnest50_1s4x24d",
    replace(RESNEST50, unit=unit(1, 4, 24, pool_at=1)),
    f"ResNeSt-50-fast 1s4x24d, ablation of {PAPER}.",
)
ResNeSt50_4s2x40d = imagenet(
    "resnest50_4s2x40d",
    replace(RESNEST50, unit=unit(4, 2, 40, pool_at=1)),
    f"ResNeSt-50-fast 4s2x40d, ablation of {PAPER}.",
)
