"""The compactor of ResRep (Ding et al. 2021, arXiv 2007.03260), which learns which channels can be pruned."""

import math

import keras


@keras.saving.register_keras_serializable("keras_cnns")
class Compactor(keras.layers.Layer):
    """A 1x1 convolution without bias that starts as the identity: (n, h, w, c) -> (n, h, w, c).

    Column j of `kernel` (c, c) computes channel j; once training has made it zero, the channel can be deleted.
    The paper, whose kernels are (out, in), calls it a row.

    Attributes:
        mask: (c,), 0 for channels that get no gradient of the loss, else 1. Used by the training step, not by
            `call`.

    Example:

    >>> import numpy as np
    >>> x = np.ones((1, 2, 2, 3), "float32")
    >>> bool((Compactor()(x) == x).numpy().all())
    True
    """

    def build(self, input_shape):
        channels = input_shape[-1]
        self.kernel = self.add_weight(name="kernel", shape=(channels, channels), initializer="identity")
        self.mask = self.add_weight(name="mask", shape=(channels,), initializer="ones", trainable=False)

    def call(self, inputs):
        return keras.ops.conv(inputs, self.kernel[None, None], 1, "valid", "channels_last")

    def compute_output_shape(self, input_shape):
        return input_shape

    def macs(self, input_shape) -> int:
        """Multiply-accumulates of one image."""
        return math.prod(input_shape[1:]) * input_shape[-1]

    def connections(self, input_shape) -> int:
        """The MACs, since there is no bias."""
        return self.macs(input_shape)
