"""Preprocessing of 0-255 RGB images: one value for training, serving and export."""

from dataclasses import dataclass

import keras
import numpy as np

from keras_cnns.values import Positive, Value


@dataclass(frozen=True)
class Preprocessing(Value):
    """(x - mean) / std on 0-255 values, per channel, after reordering the channels to `order`.

    A single mean and std apply to any number of channels; otherwise there is one for each channel.
    Never modifies its argument. NumPy arrays give float32 NumPy arrays, tensors give tensors.

    Example:

    >>> import numpy as np
    >>> white = np.full((1, 1, 1, 3), 255, "uint8")
    >>> [round(float(v), 4) for v in TORCH(white).ravel()]
    [2.2489, 2.4286, 2.64]
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[Positive, ...] = (1.0,)
    order: str = "rgb"

    def check(self):
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean and std must have equal lengths, got {len(self.mean)} and {len(self.std)}")
        if self.order not in ("rgb", "bgr"):
            raise ValueError(f"order must be 'rgb' or 'bgr', got {self.order!r}")

    def __call__(self, x):
        """Preprocesses (..., channels) of 0-255 values, any dtype.

        Raises:
            ValueError: the number of channels does not fit mean and std.
        """
        channels = x.shape[-1]
        if len(self.mean) not in (1, channels):
            raise ValueError(f"this preprocessing needs {len(self.mean)} channels, got {channels}")
        mean, std = np.array(self.mean, "float32"), np.array(self.std, "float32")
        if isinstance(x, np.ndarray):
            x = x.astype("float32")
        elif (
            keras.backend.standardize_dtype(x.dtype) != "float32"
        ):  # float tensors of tf.data stay as they are under another backend
            x = keras.ops.cast(x, "float32")
        if len(self.mean) > 1 and isinstance(x.shape[-2], int):
            # Tiled to a whole row: an inner axis of three cannot be vectorised and takes five times as long.
            mean, std = (np.tile(one, (x.shape[-2], 1)) for one in (mean, std))
        return ((x[..., ::-1] if self.order == "bgr" else x) - mean) / std

    def as_layers(self, x, name: str = "preprocessing"):
        """The same on a Keras tensor, with stock layers only, to start an exported graph.

        >>> image = keras.Input((8, 8, 3))
        >>> model = keras.Model(image, TORCH.as_layers(image))
        >>> white = np.full((1, 8, 8, 3), 255, "uint8")
        >>> [round(float(v), 4) for v in model(white)[0, 0, 0]]
        [2.2489, 2.4286, 2.64]
        """
        if len(self.mean) not in (1, x.shape[-1]):
            raise ValueError(f"this preprocessing needs {len(self.mean)} channels, got {x.shape[-1]}")
        if self.order == "bgr":
            # A channels-first layer takes the last axis as the width; no stock layer reverses it in one step.
            last = x.shape[-1] - 1
            cut = [
                keras.layers.Cropping2D(
                    ((0, 0), (i, last - i)), data_format="channels_first", name=f"{name}_channel{i}"
                )
                for i in range(last, -1, -1)
            ]
            x = keras.layers.Concatenate(name=f"{name}_bgr")([crop(x) for crop in cut])
        scale = [1 / s for s in self.std]
        offset = [-m / s for m, s in zip(self.mean, self.std, strict=True)]
        if len(scale) == 1:
            return keras.layers.Rescaling(scale[0], offset[0], name=name)(x)
        return keras.layers.Rescaling(scale, offset, name=name)(x)


def of_unit(mean: tuple[float, ...], std: tuple[float, ...]) -> Preprocessing:
    """A preprocessing from mean and std for values in [0, 1], as papers and libraries give them."""
    return Preprocessing(tuple(round(255 * m, 4) for m in mean), tuple(round(255 * s, 4) for s in std))


TORCH = of_unit((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision and timm: ImageNet statistics
CAFFE = Preprocessing((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "bgr")  # VGG, MSRA: mean BGR only
MEAN = Preprocessing((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))  # mean RGB only, as the nets of 2012 to 2014
TF = Preprocessing((127.5,), (127.5,))  # [-1, 1]
UNIT = Preprocessing((0.0,), (255.0,))  # [0, 1]
CIFAR = of_unit((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))  # CIFAR-10 training set
# LeNet-5: background -0.1, ink 1.175, so that mean and variance are about 0 and 1. Ink is 255, as in MNIST.
LENET = Preprocessing((20.0,), (200.0,))
