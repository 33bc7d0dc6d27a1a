"""Gradient descent with momentum in one kernel a weight."""

import keras


class Momentum(keras.optimizers.SGD):
    """`keras.optimizers.SGD` with momentum: same arguments, same variables, same numbers.

    On TensorFlow each weight takes one `ResourceApplyKerasMomentum`, which goes through memory half as often as
    the products, differences and assignments of stock Keras. That is felt in networks with large dense layers,
    where the update is a good part of a step; and there is less to trace.

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
