"""Max-pooling in ceil mode: the last window may extend beyond the edge, as in Caffe and cuda-convnet."""

import keras


@keras.saving.register_keras_serializable("keras_cnns")
class CeilMaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D` with ceil((h - pool) / stride) + 1 cells a side, at least one.

    For 3x3 windows of stride 2, Keras' "same" agrees on even sizes and gives an extra row on odd ones; "valid"
    agrees on odd sizes and drops a row on even ones. Cells beyond the far edge are zeros, not -inf, which a
    quantized network cannot represent; so the inputs must not be negative, as after a ReLU.

    Example:

    >>> pool = CeilMaxPooling2D(3, 2)
    >>> [pool.compute_output_shape((1, h, h, 8))[1] for h in (112, 55, 14, 13, 1)]
    [56, 27, 7, 6, 1]
    """

    def call(self, inputs):
        sizes = inputs.shape[1:3]
        if None not in sizes:
            h, w = (self.missing(i, size) for i, size in enumerate(sizes))
            return super().call(keras.ops.pad(inputs, [(0, 0), (0, h), (0, w), (0, 0)]) if h or w else inputs)
        import tensorflow as tf  # only TensorFlow has unknown sizes while tracing

        h, w = (self.missing(i, tf.shape(inputs)[1 + i]) for i in range(2))
        return super().call(tf.pad(inputs, [[0, 0], [0, h], [0, w], [0, 0]]))

    def missing(self, side: int, size):
        """Number of cells of the last window beyond the edge."""
        pool, stride = self.pool_size[side], self.strides[side]
        further = -((pool - size) // stride)  # windows after the first; // rounds down in Python and TensorFlow
        further = max(further, 0) if isinstance(size, int) else keras.ops.maximum(further, 0)
        return further * stride + pool - size

    def compute_output_shape(self, input_shape):
        n, *sizes, c = input_shape
        return (n, *(s and self._cells(i, s) for i, s in enumerate(sizes)), c)

    def _cells(self, side: int, size: int) -> int:
        return (size + self.missing(side, size) - self.pool_size[side]) // self.strides[side] + 1
