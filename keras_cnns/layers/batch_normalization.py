"""Batch normalisation (Ioffe & Szegedy, 2015) on TensorFlow's fused kernel."""

import keras


@keras.saving.register_keras_serializable("keras_cnns")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, faster: same class name, arguments, weights and results.

    Two differences:

    - On TensorFlow, a 4-D channels-last input goes through `FusedBatchNormV3`, one kernel forward and one
      backward, where stock Keras runs a dozen. Anything else (other backends, other ranks, masks, renorm,
      `synchronized=True`, float64) uses Keras' own code.
    - The moving statistics are averaged over replicas when read. Under a `tf.distribute` strategy every replica
      updates its own copy, and their average is saved instead of replica 0's copy.

    The moving variance follows Keras, the mean of squares over the n values of a channel; the fused kernel (and
    PyTorch) give n/(n-1) times that; the factor is removed here.

    Example:

    >>> import numpy as np
    >>> x = np.arange(16, dtype="float32").reshape(1, 2, 2, 4)
    >>> layer = BatchNormalization(momentum=0.9)
    >>> _ = layer(x, training=True)
    >>> np.allclose(layer.moving_mean, 0.1 * x.mean((0, 1, 2)))
    True
    """

    def add_weight(self, *args, name=None, **kwargs):
        if name is None or not name.startswith("moving_") or self.synchronized:
            return super().add_weight(*args, name=name, **kwargs)
        # add_weight has no argument `synchronization`, so the variable is created directly; the layer tracks it
        # when build() assigns it to an attribute.
        return keras.Variable(
            kwargs["initializer"],
            shape=kwargs["shape"],
            dtype=self.variable_dtype,
            trainable=False,
            autocast=False,
            aggregation="mean",
            synchronization="on_read",
            name=name,
        )

    def call(self, inputs, training=None, mask=None):
        updates = bool(training and self.trainable)
        if not self._fits_the_fused_kernel(inputs, mask, updates):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        mean, variance = tf.convert_to_tensor(self.moving_mean), tf.convert_to_tensor(self.moving_variance)
        # In training the kernel updates the moving statistics and returns them.
        outputs, new_mean, new_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma) if self.scale else tf.ones_like(variance),
            offset=tf.convert_to_tensor(self.beta) if self.center else tf.zeros_like(mean),
            mean=mean,
            variance=variance,
            epsilon=self.epsilon,
            exponential_avg_factor=1 - self.momentum if updates else 1.0,
            is_training=updates,
        )
        if updates:
            n = tf.cast(tf.size(inputs, tf.int64), variance.dtype) / inputs.shape[-1]
            self.moving_mean.assign(new_mean)
            self.moving_variance.assign(new_variance - (new_variance - variance * self.momentum) / n)
        return outputs

    def _fits_the_fused_kernel(self, inputs, mask, updates: bool) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and mask is None
            and not self.renorm
            and not (updates and self.synchronized)
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and keras.backend.standardize_dtype(inputs.dtype) == self.compute_dtype
            and self.compute_dtype in ("float32", "float16", "bfloat16")
            and self.variable_dtype == "float32"
        )
