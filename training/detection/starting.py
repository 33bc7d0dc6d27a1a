"""What a detector's training starts from: nothing, an ImageNet backbone, or a whole detector."""

from keras_cnns.detection.network import Built
from keras_cnns.detection.weights import load
from training.detection.config import DetectionConfig


def begin(built: Built, config: DetectionConfig) -> None:
    """Fills the network with the weights that its run starts from."""
    if config.weights:
        load(built.inference, config.detector, config.weights)
