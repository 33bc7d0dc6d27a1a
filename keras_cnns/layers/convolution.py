"""Two-dimensional convolution with native groups, and with stride and dilation together."""

import keras

from keras_cnns.layers.quantized import rounded


@keras.saving.register_keras_serializable("keras_cnns")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`: same class name, arguments, weights and results, without two limits.

    - Grouped convolutions use TensorFlow's grouped kernel. Stock Keras compiles each one with XLA, which trains a
      ResNeXt layer hundreds of times slower on a CPU.
    - `strides` and `dilation_rate` may both exceed 1 (the dilated branch of a strided selective kernel).

    Example:

    >>> Conv2D(64, 3, strides=2, dilation_rate=2, groups=32, padding="same").compute_output_shape((1, 56, 56, 64))
    (1, 28, 28, 64)
    """

    def __init__(self, filters, kernel_size, strides=(1, 1), padding="valid", **kwargs):
        super().__init__(filters, kernel_size, padding=padding, **kwargs)  # Keras does not check the strides
        self.strides = tuple(strides) if isinstance(strides, tuple | list) else (strides, strides)
        if len(self.strides) != 2 or not all(isinstance(s, int) and s > 0 for s in self.strides):
            raise ValueError(f"strides must be one or two positive integers, got {strides!r}")

    def convolution_op(self, inputs, kernel):
        if self._meets_the_onednn_fault(inputs):
            inputs = inputs[:, :: self.strides[0], :: self.strides[1]]
            return keras.ops.conv(inputs, kernel, 1, self.padding, self.data_format)
        native = self.groups > 1 or (max(self.strides) > 1 and max(self.dilation_rate) > 1)
        if keras.backend.backend() != "tensorflow" or self.data_format != "channels_last" or not native:
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        return tf.nn.conv2d(
            inputs,
            tf.convert_to_tensor(kernel),
            strides=self.strides,
            padding=self.padding.upper(),
            dilations=self.dilation_rate,
        )

    def _meets_the_onednn_fault(self, inputs) -> bool:
        """True for a strided 1x1 convolution of fewer than 16 channels: oneDNN's kernel gradient on AVX-512 writes
        past its buffer (TF 2.21: `malloc(): unaligned tcache chunk` at 4x56x56x8, stride 2). Slicing the input
        first gives the same result.
        """
        return (
            keras.backend.backend() == "tensorflow"
            and self.kernel_size == (1, 1)
            and max(self.strides) > 1
            and self.groups == 1
            and self.data_format == "channels_last"
            and inputs.shape[-1] < 16
        )


@keras.saving.register_keras_serializable("keras_cnns")
class QuantisedConv2D(Conv2D):
    """`Conv2D` with its kernel rounded to int8, one scale for each filter, as in an int8 network.

    The gradient ignores the rounding. TensorFlow only.
    """

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, rounded(kernel))
