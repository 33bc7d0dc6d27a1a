"""The vocabulary: frozen parts, each called on a tensor. Networks in `keras_cnns.models` are sentences of them."""

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

PARTS = by_name(
    (
        AlwaysProjection,
        BareProjection,
        BareProjectionOrPick,
        Basic,
        Bottleneck,
        Classifier,
        Conv3x3,
        DenseHead,
        Inception,
        LRN,
        NaiveInception,
        conv_relu,
        cross_entropy,
        DeepStem,
        EarlyConcatenation,
        GateBehindReLU,
        NormAfterAddition,
        PooledProjection,
        PreActivationBasic,
        PreActivationBottleneck,
        Projection,
        ReluBeforeAddition,
        ReluPreActivation,
        RepVGGStem,
        RepVGGUnit,
        SelectiveKernel,
        SeparateBranches,
        SplitAttention,
        SqueezeExcite,
        Staged,
        Stem3x3,
        Stem7x7,
        StemCeil7x7,
        StemConv3x3,
        StemConv7x7,
        StemZeroPool7x7,
        ZeroPad,
        gaussian,
        he_fan_in,
        he_fan_out,
        no_gate,
        no_lrn,
        no_shortcut,
        norm_relu,
        nothing,
        truncated,
        truncated_conv_norm,
        uniform_dense,
        xavier,
        xavier_conv,
    )
)

__all__ = ["PARTS", *PARTS]
