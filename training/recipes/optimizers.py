"""Optimizers as values. `build(rate, **options)` makes the Keras optimizer, with `options` of its base class.

What they build takes a factor of the learning rate for each weight (discriminative rates).
"""

from dataclasses import dataclass

import keras

from keras_cnns.values import Fraction, Positive, Value


class Momentum(keras.optimizers.SGD):
    """`keras.optimizers.SGD` with momentum: same arguments, same variables, same numbers.

    On TensorFlow each weight takes one `ResourceApplyKerasMomentum`, which reads and writes memory half as often
    as the operations of stock Keras: faster for large dense layers, where the update is a good part of a step.

    Attributes:
        momenta: of each trainable variable, in the order of `build`; () is `momentum` for all. TensorFlow only.

    Example:

    >>> optimizer = Momentum(0.1, momentum=0.9)
    >>> weight = keras.Variable([1.0])
    >>> for _ in range(2):
    ...     optimizer.apply([keras.ops.ones(1)], [weight])
    >>> round(float(weight[0]), 6)  # 1 - 0.1 - (0.09 + 0.1)
    0.71
    """

    momenta: tuple[float, ...] = ()

    def update_step(self, gradient, variable, learning_rate):
        if not self.momentum or keras.backend.backend() != "tensorflow":
            return super().update_step(gradient, variable, learning_rate)
        import tensorflow as tf

        index = self._get_variable_index(variable)
        accumulator = self.momentums[index]
        momentum = self.momenta[index] if self.momenta else self.momentum
        if isinstance(variable, keras.Variable):  # Keras passes TensorFlow's own within a strategy's update
            variable = variable.value
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=accumulator.value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            momentum=tf.cast(momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )


class Graded:
    """A base, before a Keras optimizer: factors of the learning rate for each weight.

    Attributes:
        lr_multipliers: factors of the rate, one for each trainable variable in the order of `build`; () is none.

    Example:

    >>> optimizer = GradedAdam(0.1)
    >>> optimizer.lr_multipliers = (1.0, 0.5)
    >>> weights = [keras.Variable([0.0]), keras.Variable([0.0])]
    >>> optimizer.apply([keras.ops.ones(1), keras.ops.ones(1)], weights)
    >>> [round(float(w[0]), 3) for w in weights]
    [-0.1, -0.05]
    """

    lr_multipliers: tuple[float, ...] = ()

    def update_step(self, gradient, variable, learning_rate):
        if self.lr_multipliers:
            learning_rate = learning_rate * self.lr_multipliers[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate)


class GradedMomentum(Graded, Momentum):
    """Gradient descent with momentum."""


class GradedAdam(Graded, keras.optimizers.Adam):
    """Adam."""


class GradedLamb(Graded, keras.optimizers.Lamb):
    """LAMB; its decoupled decay goes by the whole rate."""


@dataclass(frozen=True)
class SGD(Value):
    """Stochastic gradient descent with momentum: v <- m v - rate g, w <- w + v (Caffe's and Keras' form)."""

    rate: Positive = 0.1
    momentum: Fraction = 0.9
    nesterov: bool = False

    def build(self, rate, **options) -> keras.optimizers.Optimizer:
        return GradedMomentum(rate, momentum=self.momentum, nesterov=self.nesterov, **options)


@dataclass(frozen=True)
class Adam(Value):
    """Adam (Kingma & Ba 2014) with its usual constants."""

    rate: Positive = 1e-3

    def build(self, rate, **options) -> keras.optimizers.Optimizer:
        return GradedAdam(rate, **options)


@dataclass(frozen=True)
class Lamb(Value):
    """LAMB (You et al. 2019): Adam, each layer's rate in proportion to the norm of its weights; for large batches.

    `decay` is decoupled (rate times decay times the weight is subtracted) and spares biases and norms.
    """

    rate: Positive = 5e-3
    decay: Fraction = 0.02

    def build(self, rate, **options) -> keras.optimizers.Optimizer:
        optimizer = GradedLamb(rate, epsilon=1e-6, weight_decay=self.decay, **options)
        optimizer.exclude_from_weight_decay(var_names=["/(bias|gamma|beta)$"])
        return optimizer
