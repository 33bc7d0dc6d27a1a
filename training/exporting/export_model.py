"""The network that is exported, in the form that leaves the house."""

from dataclasses import dataclass

import keras
import numpy as np

from keras_cnns import fuse
from keras_cnns.deep import deep_recursion
from training.classification.trained import Trained
from training.data import pipeline
from training.data.dataset import Split
from training.data.eval_transform import EvalTransform
from training.report.stream import told


@dataclass(frozen=True)
class ExportModel:
    """A network, and its inference form.

    Attributes:
        network: as it was trained.
        fused: the inference form; takes what the network takes.
        whole: the same with the preprocessing in front; takes 0 to 255 RGB or grey, (n, size, size, channels).
    """

    network: Trained
    fused: keras.Model
    whole: keras.Model

    @property
    def shorter_side(self) -> int:
        """Pixels that the shorter side of an image is resized to before the middle is cropped."""
        crop = self.network.crop
        return crop.shorter if isinstance(crop, EvalTransform) else round(self.network.size / crop)

    def seen(self, images):
        """uint8 images (n, h, w, 1 or 3) -> uint8 (n, size, size, channels): what the network is shown of them."""
        n = self.network
        return pipeline.with_channels(pipeline.resize_and_crop(images, n.size, n.crop), n.channels)

    def shown(self, split: Split, indices) -> np.ndarray:
        """Images of a split as the network is shown them, uint8 (n, size, size, channels)."""
        side, channels = self.network.size, self.network.channels
        out = np.empty((len(indices), side, side, channels), np.uint8)
        for place, index in enumerate(indices):
            out[place] = np.asarray(self.seen(split.images[int(index)][None]))[0]
        return out


def of(network: Trained) -> ExportModel:
    """The subject of a network."""
    with deep_recursion():
        image = keras.Input(network.model.input_shape[1:], name="image")
        whole = keras.Model(image, network.model(network.preprocessing.as_layers(image)), name=network.model.name)
        fused = fuse(network.model)
        with told([].append):  # it would say the same again
            return ExportModel(network, fused, fuse(whole))


def spread(count: int, wanted: int) -> np.ndarray:
    """At most `wanted` of `count` indices, evenly spread.

    >>> spread(10, 4)
    array([0, 2, 5, 7])
    """
    wanted = min(count, wanted)
    return np.arange(wanted) * count // max(wanted, 1)
