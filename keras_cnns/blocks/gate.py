"""Gates, for the `gate` field of units: (x, name) -> x, each channel scaled by a function of the whole map."""

from collections.abc import Callable
from dataclasses import dataclass

from keras.layers import Activation, GlobalAveragePooling2D, Multiply

from keras_cnns.blocks.conv import conv, relu
from keras_cnns.values import Count, Value


@dataclass(frozen=True)
class SqueezeExcite(Value):
    """x * sigmoid(W2 ReLU(W1 mean(x) + b1) + b2) (Hu et al. 2017): W1 has channels / `reduction` rows, at
    least `least`. The dense layers are 1x1 convolutions with biases.
    """

    reduction: Count = 16
    least: Count = 1

    def __call__(self, x, name: str):
        channels = x.shape[-1]
        squeezed = max(channels // self.reduction, self.least)  # timm's SE-ResNet-18 and 34 have 8
        s = GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
        s = relu(conv(s, squeezed, 1, bias=True, name=f"{name}_reduce"), name=f"{name}_reduce_relu")
        s = Activation("sigmoid", name=f"{name}_sigmoid")(conv(s, channels, 1, bias=True, name=f"{name}_expand"))
        return Multiply(name=f"{name}_scale")([x, s])


@dataclass(frozen=True)
class GateBehindReLU(Value):
    """A gate after a ReLU, as in the basic unit of the SENet release; paper and bottleneck have no ReLU there."""

    gate: Callable = SqueezeExcite()

    def __call__(self, x, name: str):
        return self.gate(relu(x, name=f"{name}_relu"), name)
