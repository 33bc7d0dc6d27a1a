"""The compactor of ResRep (Ding et al. 2021, arXiv 2007.03260): the identity that learns which channels can go."""

import math

import keras


@keras.saving.register_keras_serializable("keras_cnns")
class Compactor(keras.layers.Layer):
    """A 1x1 convolution without bias that starts as the identity: (n, h, w, c) -> (n, h, w, c).

    Column j of `kernel` (c, c) makes channel j; where training has brought it to zero, the channel can be deleted.
    The paper, whose kernels are (out, in), speaks of rows.

    Attributes:
        mask: (c,), 0 for channels that the loss may no longer hold on to, else 1. What `call` gives does not
            depend on it; the training step does.

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
        """There is no bias."""
        return self.macs(input_shape)
