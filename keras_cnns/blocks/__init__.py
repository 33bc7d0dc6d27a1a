"""The building blocks of networks: frozen values, each called on a tensor. `keras_cnns.models` combines them."""
# ruff: noqa: F401 (`__all__` collects every import)

from keras_cnns.blocks.attention import SelectiveKernel, SplitAttention
from keras_cnns.blocks.branches import EarlyConcatenation, RepVGGStem, RepVGGUnit, SeparateBranches
from keras_cnns.blocks.conv import conv_relu, gaussian, he_fan_in, he_fan_out
from keras_cnns.blocks.gate import GateBehindReLU, SqueezeExcite
from keras_cnns.blocks.head import Classifier, DenseHead, cross_entropy, uniform_dense
from keras_cnns.blocks.inception import (
    Inception,
    NaiveInception,
    truncated,
    truncated_conv_norm,
    xavier,
    xavier_conv,
)
from keras_cnns.blocks.lrn import LRN, no_lrn
from keras_cnns.blocks.shortcut import (
    AlwaysProjection,
    BareProjection,
    BareProjectionOrPick,
    PooledProjection,
    Projection,
    ZeroPad,
    no_shortcut,
)
from keras_cnns.blocks.spatial import Conv3x3
from keras_cnns.blocks.staged import Staged
from keras_cnns.blocks.stem import (
    DeepStem,
    Stem3x3,
    Stem7x7,
    StemCeil7x7,
    StemConv3x3,
    StemConv7x7,
    StemZeroPool7x7,
)
from keras_cnns.blocks.unit import (
    Basic,
    Bottleneck,
    NormAfterAddition,
    PreActivationBasic,
    PreActivationBottleneck,
    ReluBeforeAddition,
    ReluPreActivation,
    no_gate,
    norm_relu,
    nothing,
)
from keras_cnns.values import by_name

PARTS = by_name(p for p in list(globals().values()) if getattr(p, "__module__", "").startswith(f"{__name__}."))

__all__ = ["PARTS", *PARTS]
