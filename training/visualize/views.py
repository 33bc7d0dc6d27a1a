"""The views of `explain.py`: each function draws one aspect of a network, writes files and prints their paths."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_cnns import endpoints, explain, feature_extractor, fully_convolutional
from keras_cnns.deep import deep_recursion
from keras_cnns.layers.lenet import RBF, SparseConv2D
from training.classification.trained import Trained
from training.data import pipeline
from training.data.dataset import DataSet
from training.report import canvas, pictures
from training.visualize import lenet, plots

MAX_FILES = 4  # images that get a file of their own
MAX_OVERLAYS = 32
PHOTO_SCALE = (2, 4)  # a photograph's shorter side is two to four times the network's input


@dataclass(frozen=True)
class Context:
    """What a view draws from.

    Attributes:
        network: the trained network with its preprocessing.
        images: (name, uint8 (height, width, channels)) of each image.
        data: labelled images, or None.
        out: output folder.
        say: prints a line.
    """

    network: Trained
    images: list[tuple[str, np.ndarray]]
    data: DataSet | None
    out: Path
    say: Callable[[str], None]

    def draw(self, figure, name: str) -> None:
        """Writes a picture and prints its path."""
        path = self.out / f"{name}.png"
        canvas.save(figure, path)
        self.say(str(path))

    def needed_images(self) -> list[tuple[str, np.ndarray]]:
        """The images. Raises NotApplicable if there are none."""
        if not self.images:
            raise NotApplicable("give images, or --data to take some from")
        return self.images

    def crop(self, image: np.ndarray) -> np.ndarray:
        """The part of an image that the network gets, uint8 (size, size, channels of the network)."""
        n = self.network
        cropped = pipeline.resize_and_crop(image[None], n.size, n.crop)
        return np.asarray(pipeline.with_channels(cropped, n.channels))[0]


class NotApplicable(ValueError):
    """This network does not have the view, or the view needs images or data."""


def filters(s: Context) -> None:
    """The first layer's kernels in a grid."""
    s.draw(pictures.filters(explain.first_filters(s.network.model), f"{s.network.name}: first layer"), "filters")


def towers(s: Context) -> None:
    """The AlexNet of 2012: each tower's kernels and their colour saturation."""
    with _not_applicable():
        kernels = explain.towers(s.network.model)
    saturations = [explain.saturation(kernel) for kernel in kernels]
    s.draw(plots.towers(kernels, saturations, f"{s.network.name}: the two towers"), "towers")
    s.say("colour saturation of the towers: " + ", ".join(f"{c.mean():.3f}" for c in saturations))


def gradcam(s: Context) -> None:
    """Grad-CAM over every image, for its most probable class."""
    n, images = s.network, [s.crop(image) for _, image in s.needed_images()[:MAX_OVERLAYS]]
    x = n.preprocessing(np.stack(images))
    outputs = np.asarray(n.model(x, training=False))
    with deep_recursion():
        heatmaps = explain.grad_cam(n.model, x, outputs.argmax(1))
    captions = [f"{n.classes[a.argmax()]} {a.max():.0%}" for a in outputs]
    s.draw(plots.overlays([_rgb(i) for i in images], heatmaps, captions, f"{n.name}: Grad-CAM"), "gradcam")


def maps(s: Context) -> None:
    """The feature maps of each endpoint, for the first images."""
    n = s.network
    names = [name for name, tensor in endpoints(n.model).items() if len(tensor.shape) == 4]
    if not names:
        raise NotApplicable(f"{n.name} has no named endpoints")
    extract = feature_extractor(n.model, names)
    for name, image in s.needed_images()[:MAX_FILES]:
        cropped = s.crop(image)
        outputs = extract(n.preprocessing(cropped[None]), training=False)
        shown = {key: np.asarray(outputs[key])[0] for key in names}
        s.draw(plots.feature_maps(cropped, shown, f"{n.name}: feature maps"), f"maps-{Path(name).stem}")


def class_map(s: Context) -> None:
    """Dense class map: class probabilities at every position of a photograph, by `fully_convolutional`."""
    import tensorflow as tf

    n = s.network
    with _not_applicable():
        dense = fully_convolutional(n.model)
    for name, image in s.needed_images()[:MAX_FILES]:
        shorter = min(image.shape[:2])
        scale = min(max(shorter, PHOTO_SCALE[0] * n.size), PHOTO_SCALE[1] * n.size) / shorter
        sides = [max(n.size, round(side * scale)) for side in image.shape[:2]]
        photo = tf.image.resize(image, sides, antialias=True)
        x = n.preprocessing(np.asarray(pipeline.with_channels(photo[None], n.channels)))
        scores = np.asarray(dense(x, training=False))[0]
        shown = _rgb(np.asarray(tf.cast(tf.clip_by_value(photo, 0, 255), tf.uint8)))
        title = f"{n.name}, slid over {Path(name).name}"
        s.draw(plots.class_map(shown, scores, n.size, n.classes, title), f"places-{Path(name).stem}")


def lenet_walk(s: Context) -> None:
    """LeNet-5 (1998) layer by layer, for the first images."""
    n = s.network
    rbf = next((la for la in n.model.layers if isinstance(la, RBF)), None)
    sparse = next((la for la in n.model.layers if isinstance(la, SparseConv2D)), None)
    if rbf is None or sparse is None:
        raise NotApplicable(f"{n.name} is not LeNet-5 as published")
    names = ["C1", "S2", "C3", "S4", "C5", "F6"]
    extract = feature_extractor(n.model, [*names, rbf.name])
    codes = keras.ops.convert_to_numpy(rbf.centres)
    for name, image in s.needed_images()[:MAX_FILES]:
        x = n.preprocessing(s.crop(image)[None])
        outputs = {key: np.asarray(value)[0] for key, value in extract(x, training=False).items()}
        title = f"{n.name}: {Path(name).name}"
        figure = lenet.walk(x[0, ..., 0], outputs, outputs[rbf.name], codes, sparse.table, title)
        s.draw(figure, f"layers-{Path(name).stem}")


@contextmanager
def _not_applicable():
    """Turns a ValueError inside the block into a NotApplicable."""
    try:
        yield
    except ValueError as error:
        raise NotApplicable(str(error)) from None


def _rgb(image: np.ndarray) -> np.ndarray:
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
