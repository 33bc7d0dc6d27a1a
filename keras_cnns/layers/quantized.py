"""Fake-quantized layers: int8 rounding in the forward pass, gradients without it (Jacob et al. 2018).

Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, arXiv 1712.05877,
section 3, with the straight-through estimator. TensorFlow only. The class names keep their British spelling, since
the paths in `.weights.h5` files are made of them.
"""

import keras

BITS = 8


@keras.saving.register_keras_serializable("keras_cnns")
class FakeQuantise(keras.layers.Layer):
    """Rounds activations to the 256 steps between `low` and `high`, which follow the range in training.

    Any shape -> the same shape. `low` and `high` are weights without a gradient: in training they widen at once to
    the range of a batch and narrow slowly, since the exported file has the whole range of its calibration.

    Args:
        momentum: fraction of the old range that a training step keeps when the range of the batch is narrower.

    Example:

    >>> import numpy as np
    >>> layer = FakeQuantise()
    >>> layer.build((None,))
    >>> layer.set_weights([np.float32(0), np.float32(255)])
    >>> [float(v) for v in layer(np.array([-3, 0.6, 300], "float32"))]
    [0.0, 1.0, 255.0]
    """

    def __init__(self, momentum: float = 0.999, **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum

    def build(self, input_shape):
        self.low = self.add_weight(name="low", shape=(), initializer="zeros", trainable=False)
        self.high = self.add_weight(name="high", shape=(), initializer="ones", trainable=False)

    def call(self, inputs, training=False):
        import tensorflow as tf

        if training:
            keep, x = self.momentum, tf.stop_gradient(inputs)
            least, most = tf.reduce_min(x), tf.reduce_max(x)
            self.low.assign(tf.minimum(least, keep * self.low + (1 - keep) * least))
            self.high.assign(tf.maximum(most, keep * self.high + (1 - keep) * most))
        low, high = (tf.convert_to_tensor(w) for w in (self.low, self.high))
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high, num_bits=BITS)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}


def rounded(kernel):
    """A kernel rounded to 255 steps around zero, with one scale for each filter (last axis), as in TFLite."""
    import tensorflow as tf

    kernel = tf.convert_to_tensor(kernel)
    most = tf.stop_gradient(tf.reduce_max(tf.abs(kernel), axis=list(range(len(kernel.shape) - 1))))
    most = tf.maximum(most, 1e-12)  # a filter of zeros
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        kernel, -most, most, num_bits=BITS, narrow_range=True
    )


@keras.saving.register_keras_serializable("keras_cnns")
class QuantisedDense(keras.layers.Dense):
    """`keras.layers.Dense` with its kernel rounded to int8."""

    def call(self, inputs, training=None):
        x = keras.ops.matmul(inputs, rounded(self.kernel))
        return self.activation(keras.ops.add(x, self.bias) if self.use_bias else x)
