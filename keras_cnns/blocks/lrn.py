"""Local response normalisation as a building block: (x, name) -> x."""

from dataclasses import dataclass
from typing import Annotated

from keras_cnns.layers import LocalResponseNormalization
from keras_cnns.values import Positive, Range, Value


def no_lrn(x, name: str):
    """No normalisation: returns `x`."""
    return x


@dataclass(frozen=True)
class LRN(Value):
    """Local response normalisation with the constants of Krizhevsky et al. 2012: k 2, n 5, alpha 1e-4, beta 0.75.

    `alpha` multiplies the sum over the 2 radius + 1 channels, as in the paper.
    """

    radius: Annotated[int, Range(0, 64)] = 2
    bias: Positive = 2.0
    alpha: Positive = 1e-4
    beta: Positive = 0.75

    def __call__(self, x, name: str):
        return LocalResponseNormalization(self.radius, self.bias, self.alpha, self.beta, name=name)(x)
