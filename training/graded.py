"""Optimizers under which every weight may have its own share of the rate (discriminative rates)."""

import keras

from training.momentum import Momentum


class Graded:
    """Comes before a Keras optimizer among the bases.

    Attributes:
        shares: of the rate, one for each trainable variable in the order of `build`; () is all of it for all.

    Example:

    >>> optimizer = GradedAdam(0.1)
    >>> optimizer.shares = (1.0, 0.5)
    >>> weights = [keras.Variable([0.0]), keras.Variable([0.0])]
    >>> optimizer.apply([keras.ops.ones(1), keras.ops.ones(1)], weights)
    >>> [round(float(w[0]), 3) for w in weights]
    [-0.1, -0.05]
    """

    shares: tuple[float, ...] = ()

    def update_step(self, gradient, variable, learning_rate):
        if self.shares:
            learning_rate = learning_rate * self.shares[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate)


class GradedMomentum(Graded, Momentum):
    """Gradient descent with momentum."""


class GradedAdam(Graded, keras.optimizers.Adam):
    """Adam."""


class GradedLamb(Graded, keras.optimizers.Lamb):
    """LAMB; its decoupled decay goes by the whole rate."""
