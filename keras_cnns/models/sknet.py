"""Li, Wang, Hu & Yang (2019): Selective Kernel Networks. arXiv 1903.06586.

ResNeXt 32x4d in which attention selects, for each channel, between a 3x3 and a 5x5. The 5x5 is a 3x3 of dilation
2. A true 5x5 is `SKNet50.with_unit(spatial=SelectiveKernel(((3, 1), (5, 1))))`; on a plain ResNet it is
`ResNet50.with_unit(spatial=SelectiveKernel(groups=1))`.
"""

from dataclasses import replace

from keras_cnns.blocks import SelectiveKernel
from keras_cnns.models.resnet import imagenet
from keras_cnns.models.resnext import RESNEXT50, RESNEXT101

PAPER = "Li et al. 2019, Selective Kernel Networks, arXiv 1903.06586"

# SK[M=2, G=32, r=16] of table 1; L = 32 of equation 4. The released SKNet-101 ignores L in conv3_x.
SK = SelectiveKernel(branches=((3, 1), (3, 2)), groups=32, reduction=16, least=32)

SKNET50 = RESNEXT50.with_unit(spatial=SK)
SKNET26 = replace(SKNET50, depths=(2, 2, 2, 2))
SKNET101 = RESNEXT101.with_unit(spatial=SK)

SKNet26 = imagenet("sknet26", SKNET26, f"SKNet-26, section 3.3 of {PAPER}.")
SKNet50 = imagenet("sknet50", SKNET50, f"SKNet-50, table 1 of {PAPER}.")
SKNet101 = imagenet("sknet101", SKNET101, f"SKNet-101, table 2 of {PAPER}.")
