"""Convolution, batch norm and activation with the usual conventions, for all blocks.

Batch norm has epsilon 1e-5 and momentum 0.9 (torch's 0.1), padding is symmetric as in torch and Caffe, and a
convolution before a batch norm has no bias.
"""

from collections.abc import Callable

import keras
from keras.layers import Activation, ZeroPadding2D

from keras_cnns.layers import BatchNormalization, Conv2D, Cropping2D

EPSILON = 1e-5
MOMENTUM = 0.9


def he_fan_out() -> keras.initializers.Initializer:
    """N(0, sqrt(2 / (k k filters))), He et al. 2015, the form of most released code."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def he_fan_in() -> keras.initializers.Initializer:
    """N(0, sqrt(2 / (k k channels))), He et al. 2015, the form of the Wide ResNet release."""
    return keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")


def gaussian() -> keras.initializers.Initializer:
    """N(0, 0.01), Krizhevsky et al. 2012 and Simonyan & Zisserman 2014."""
    return keras.initializers.RandomNormal(stddev=0.01)


def conv(
    x,
    filters: int,
    kernel: int,
    *,
    name: str,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    bias: bool = False,
    init: Callable = he_fan_out,
    pad: int | None = None,
    start: float = 0.0,
):
    """A convolution with symmetric padding: (n, h, w, c) -> (n, ceil(h / stride), ceil(w / stride), filters).

    `pad` replaces the default padding of half the kernel; `start` is the initial value of the biases.

    A strided convolution pads in a separate layer: "same" would pad an even size at the far side only, and so
        shift
    the sampling grid by a pixel (and explicit padding inside the op has no fast CPU kernel).
    """
    same = dilation * (kernel - 1) // 2
    side = same if pad is None else pad
    inside = stride == 1 and side == same
    if side and not inside:
        x = ZeroPadding2D(side, name=f"{name}_pad")(x)
    return Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same" if inside else "valid",
        groups=groups,
        dilation_rate=dilation,
        use_bias=bias,
        kernel_initializer=init(),
        bias_initializer=keras.initializers.Constant(start) if start else "zeros",
        name=name,
    )(x)


def norm(x, *, name: str, epsilon: float = EPSILON):
    """Batch normalisation with the usual constants."""
    return BatchNormalization(momentum=MOMENTUM, epsilon=epsilon, name=name)(x)


def relu(x, *, name: str, dtype: str | None = None):
    """max(x, 0), in the precision of the policy or in `dtype`."""
    return Activation("relu", dtype=dtype, name=name)(x)


def conv_relu(x, filters: int, kernel: int, *, name: str, **options):
    """Convolution with bias and ReLU, for networks without batch norm. `options` are those of `conv`."""
    return relu(conv(x, filters, kernel, bias=True, name=name, **options), name=f"{name}_relu")


def conv_norm(x, filters: int, kernel: int, *, name: str, **options):
    """Convolution and batch norm; `options` are those of `conv`."""
    return norm(conv(x, filters, kernel, name=name, **options), name=f"{name}_norm")


def conv_norm_relu(x, filters: int, kernel: int, *, name: str, **options):
    """Convolution, batch norm and ReLU; `options` are those of `conv`."""
    return relu(conv_norm(x, filters, kernel, name=name, **options), name=f"{name}_relu")


def split(x, parts: int, *, name: str) -> list:
    """Splits the channels into `parts` equal pieces, in order; one part is `x` itself.

    Keras has no such layer. Cropping in a channels-first layer, which takes the last axis as the width, is
    possible with stock layers, so that a deployed network needs no layer of this package.
    """
    if parts == 1:
        return [x]
    size = x.shape[-1] // parts
    edges = [((0, 0), (i * size, (parts - 1 - i) * size)) for i in range(parts)]
    return [Cropping2D(e, data_format="channels_first", name=f"{name}{i}")(x) for i, e in enumerate(edges, 1)]
