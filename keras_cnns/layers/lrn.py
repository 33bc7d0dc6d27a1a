"""Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3)."""

import keras
from keras import ops


def local_response(x, radius: int, bias: float, alpha: float, beta: float):
    """x / (bias + alpha * sum of squares of the channels i - radius ... i + radius) ** beta, on any backend.

    Channels near both ends have fewer neighbours (no wrap-around).
    """
    channels = x.shape[-1]
    squares = ops.pad(ops.square(x), [(0, 0)] * (len(x.shape) - 1) + [(radius, radius)])
    total = sum(squares[..., i : i + channels] for i in range(2 * radius + 1))
    return x / (bias + alpha * total) ** beta


@keras.saving.register_keras_serializable("keras_cnns")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each value by a power of the energy of the adjacent channels at the same pixel.

    As in the paper, `alpha` multiplies the *sum* over the 2 radius + 1 channels of the window. Caffe and torch
    divide alpha by that number, so their alpha is this one times that number. The defaults are the paper's
    constants.

    (..., channels) -> the same shape. No weights. Always computed in float32: squares of float16
    values overflow at 256.

    Args:
        radius: neighbours on either side; the paper's n = 5 is a radius of 2.
        bias: the paper's k.
        alpha, beta: factor on the sum, and exponent.

    Example:

    >>> import numpy as np
    >>> layer = LocalResponseNormalization(radius=1, bias=1.0, alpha=1.0, beta=1.0)
    >>> [round(float(v), 4) for v in layer(np.ones((1, 1, 1, 4), "float32"))[0, 0, 0]]
    [0.3333, 0.25, 0.25, 0.3333]
    """

    def __init__(self, radius: int = 2, bias: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, **kwargs):
        super().__init__(**kwargs)
        if not (isinstance(radius, int) and radius >= 0):
            raise ValueError(f"radius must be a non-negative integer, got {radius!r}")
        if not (bias > 0 and alpha >= 0):
            raise ValueError(f"bias must be > 0 and alpha >= 0, got {bias!r} and {alpha!r}")
        self.radius = radius
        self.bias = float(bias)
        self.alpha = float(alpha)
        self.beta = float(beta)

    def call(self, inputs):
        x = ops.cast(inputs, "float32")
        if keras.backend.backend() == "tensorflow" and len(inputs.shape) == 4:
            import tensorflow as tf

            y = tf.nn.local_response_normalization(x, self.radius, self.bias, self.alpha, self.beta)
        else:
            y = local_response(x, self.radius, self.bias, self.alpha, self.beta)
        return ops.cast(y, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        own = {"radius": self.radius, "bias": self.bias, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **own}
