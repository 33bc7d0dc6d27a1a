"""Max-pooling whose last window may stand over the edge, as Caffe and cuda-convnet count."""

import keras


@keras.saving.register_keras_serializable("keras_cnns")
class CeilMaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D` with ceil((h - pool) / stride) + 1 cells a side, and never fewer than one.

    Keras' "same" agrees on even sizes and gives a row too many on odd ones; "valid" agrees on odd sizes and loses
    a row on even ones. The missing cells beyond the far edge are zeros, not -inf, since a quantized network could
    not hold that: so the inputs must not be negative, as after a ReLU.

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
        import tensorflow as tf  # only there is a size unknown while the graph is made

        h, w = (self.missing(i, tf.shape(inputs)[1 + i]) for i in range(2))
        return super().call(tf.pad(inputs, [[0, 0], [0, h], [0, w], [0, 0]]))

    def missing(self, side: int, size):
        """How many cells the last window stands over the edge."""
        pool, stride = self.pool_size[side], self.strides[side]
        further = -((pool - size) // stride)  # windows after the first; // rounds down in Python and TensorFlow
        further = max(further, 0) if isinstance(size, int) else keras.ops.maximum(further, 0)
        return further * stride + pool - size

    def compute_output_shape(self, input_shape):
        n, *sizes, c = input_shape
        return (n, *(s and self._cells(i, s) for i, s in enumerate(sizes)), c)

    def _cells(self, side: int, size: int) -> int:
        return (size + self.missing(side, size) - self.pool_size[side]) // self.strides[side] + 1
