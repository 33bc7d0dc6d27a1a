"""The layers that only LeNet-5 has (LeCun, Bottou, Bengio & Haffner, 1998, section II).

Each defines `macs` and `connections` as the paper counts them, and its `window` (kernel, stride).
"""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("keras_cnns")
def scaled_tanh(x):
    """f(a) = 1.7159 tanh(2a/3): f(1) = 1, f(-1) = -1, near the points of greatest curvature (appendix A).

    >>> round(float(scaled_tanh(1.0)), 4)
    1.0
    """
    return 1.7159 * ops.tanh(x * (2.0 / 3.0))


def uniform_fan_in(fan_in: int) -> keras.initializers.Initializer:
    """U(-2.4/F, 2.4/F), F the number of inputs of a unit (appendix A)."""
    return keras.initializers.RandomUniform(-2.4 / fan_in, 2.4 / fan_in)


@keras.saving.register_keras_serializable("keras_cnns")
class SubSampling2D(keras.layers.Layer):
    """S2 and S4: the sum of each 2x2 square, times a trainable coefficient, plus a bias, one of each per map.

    (n, h, w, c) -> (n, h // 2, w // 2, c); 2c parameters. The activation is a separate layer.
    """

    window = (2, 2)

    def build(self, input_shape):
        maps = (input_shape[-1],)
        self.coefficient = self.add_weight(name="coefficient", shape=maps, initializer=uniform_fan_in(4))
        self.bias = self.add_weight(name="bias", shape=maps, initializer="zeros")

    def call(self, inputs):
        return 4.0 * ops.average_pool(inputs, 2, 2, "valid") * self.coefficient + self.bias

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        return (n, h and h // 2, w and w // 2, c)

    def macs(self, input_shape) -> int:
        return 0  # neither a convolution nor a dense layer

    def connections(self, input_shape) -> int:
        _, h, w, c = self.compute_output_shape(input_shape)
        return h * w * c * (2 * 2 + 1)


@keras.saving.register_keras_serializable("keras_cnns")
class SparseConv2D(keras.layers.Layer):
    """C3: a 5x5 valid convolution in which output map i reads only the input maps `table[i]`.

    Stores only the kernels of these links, concatenated: shape (5, 5, links), 60 links in LeNet-5.

    Args:
        table: for every output map, the indices of the input maps that it reads.
        kernel_size: side of the square kernel.
    """

    def __init__(self, table, kernel_size: int = 5, **kwargs):
        super().__init__(**kwargs)
        self.table = tuple(tuple(int(i) for i in row) for row in table)
        self.kernel_size = kernel_size

    @property
    def window(self):
        return (self.kernel_size, 1)

    @property
    def links(self) -> int:
        return sum(map(len, self.table))

    def build(self, input_shape):
        maps = input_shape[-1]
        if max(map(max, self.table)) >= maps:
            raise ValueError(f"the table needs {max(map(max, self.table)) + 1} input maps, got {maps}")
        area = self.kernel_size**2
        fan_in = np.repeat([area * len(row) for row in self.table], [len(row) for row in self.table])

        def uniform(shape, dtype=None):
            return keras.random.uniform(shape, -1, 1, dtype=dtype) * ops.cast(2.4 / fan_in, dtype)

        self.kernel = self.add_weight(
            name="kernel", shape=(self.kernel_size, self.kernel_size, self.links), initializer=uniform
        )
        self.bias = self.add_weight(name="bias", shape=(len(self.table),), initializer="zeros")
        # where[input map, output map] = number of the link, or one after the last (a kernel of zeros)
        self.where = np.full((maps, len(self.table)), self.links, "int32")
        for link, (i, o) in enumerate((i, o) for o, row in enumerate(self.table) for i in row):
            self.where[i, o] = link

    def call(self, inputs):
        kernel = ops.pad(ops.convert_to_tensor(self.kernel), [(0, 0), (0, 0), (0, 1)])
        dense = ops.take(kernel, self.where, axis=-1)  # (k, k, input maps, output maps)
        return ops.conv(inputs, dense, padding="valid") + self.bias

    def compute_output_shape(self, input_shape):
        n, h, w, _ = input_shape
        less = self.kernel_size - 1
        return (n, h and h - less, w and w - less, len(self.table))

    def get_config(self):
        return {**super().get_config(), "table": self.table, "kernel_size": self.kernel_size}

    def macs(self, input_shape) -> int:
        _, h, w, _ = self.compute_output_shape(input_shape)
        return h * w * self.links * self.kernel_size**2

    def connections(self, input_shape) -> int:
        _, h, w, maps = self.compute_output_shape(input_shape)
        return self.macs(input_shape) + h * w * maps


@keras.saving.register_keras_serializable("keras_cnns")
class RBF(keras.layers.Layer):
    """The output layer: squared Euclidean distance of F6 to a fixed code of -1 and +1 for each class.

    (n, 84) -> (n, classes), penalties >= 0; the class with the smallest penalty is the prediction. The codes are
    weights that are not trainable: trained by the squared-error loss, all would become equal.
    """

    def __init__(self, codes, **kwargs):
        super().__init__(**kwargs)
        self.codes = tuple(tuple(int(v) for v in row) for row in codes)

    def build(self, input_shape):
        codes = np.array(self.codes, "float32")
        if input_shape[-1] != codes.shape[1]:
            raise ValueError(f"the codes need {codes.shape[1]} inputs, got {input_shape[-1]}")
        self.centres = self.add_weight(
            name="codes",
            shape=codes.shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(codes, dtype),
            trainable=False,
        )

    def call(self, inputs):
        difference = ops.expand_dims(inputs, 1) - self.centres
        return ops.sum(difference * difference, axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], len(self.codes))

    def get_config(self):
        return {**super().get_config(), "codes": self.codes}

    def macs(self, input_shape) -> int:
        return 0  # neither a convolution nor a dense layer

    def connections(self, input_shape) -> int:
        return len(self.codes) * input_shape[-1]


@keras.saving.register_keras_serializable("keras_cnns")
class RBFLoss(keras.losses.Loss):
    """The paper's first loss (its equation 8): the mean penalty of the right class.

    Takes integer labels and *negated* penalties, the logits of LeNet-5.
    """

    def call(self, y_true, y_pred):
        return -ops.take_along_axis(y_pred, _column(y_true, y_pred), axis=-1)[..., 0]


@keras.saving.register_keras_serializable("keras_cnns")
class MAPLoss(keras.losses.Loss):
    """The paper's discriminative loss (its equation 9): y_true + log(exp(-j) + sum_i exp(-y_i)).

    With logits -y_i it is the softmax cross-entropy with an extra constant logit -j, the "rubbish class", which
    stops the loss from increasing penalties of wrong classes that are already large.

    Args:
        j: penalty of the rubbish class, > 0.
    """

    def __init__(self, j: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        if not j > 0:
            raise ValueError(f"j must be greater than 0, got {j!r}")
        self.j = float(j)

    def call(self, y_true, y_pred):
        rubbish = ops.full_like(y_pred[..., :1], -self.j)
        total = ops.logsumexp(ops.concatenate([y_pred, rubbish], axis=-1), axis=-1)
        return total - ops.take_along_axis(y_pred, _column(y_true, y_pred), axis=-1)[..., 0]

    def get_config(self):
        return {**super().get_config(), "j": self.j}


def _column(y_true, y_pred):
    """Integer labels (n,) or (n, 1) as an index column (n, 1)."""
    return ops.reshape(ops.cast(y_true, "int32"), (*ops.shape(y_pred)[:-1], 1))
