"""What `explain.py` draws: each function looks at a network in one way, writes files, and says a line or more."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_cnns import endpoints, feature_extractor, fully_convolutional
from keras_cnns.deep import deep_recursion
from keras_cnns.explain import first_filters, grad_cam, saturation, towers
from keras_cnns.layers.lenet import RBF, SparseConv2D
from training.classification.trained import Trained
from training.data import pipeline
from training.data.dataset import DataSet
from training.report import canvas, pictures
from training.visualize import lenet, plots

FEW = 4  # images with a picture of their own
LAID_OPEN = (2, 4)  # a photograph's shorter side is from two to four times the network's


@dataclass(frozen=True)
class Context:
    """What is looked at.

    Attributes:
        network: with what it needs to see images.
        images: (name, uint8 (height, width, channels)) each.
        data: labelled images, or None.
        out: folder for what is drawn.
        say: takes lines.
    """

    network: Trained
    images: list[tuple[str, np.ndarray]]
    data: DataSet | None
    out: Path
    say: Callable[[str], None]

    def draw(self, figure, name: str) -> None:
        """Writes a picture and says where."""
        path = self.out / f"{name}.png"
        canvas.save(figure, path)
        self.say(str(path))

    def fed(self, image: np.ndarray) -> np.ndarray:
        """An image as the network crops it, uint8 (size, size, channels of the network)."""
        n = self.network
        return np.asarray(
            pipeline.with_channels(pipeline.resize_and_crop(image[None], n.size, n.crop), n.channels)
        )[0]


class NotApplicable(ValueError):
    """What was asked for does not go with this network, or needs images or data."""


def filters(s: Context) -> None:
    """The first layer's kernels in a grid."""
    s.draw(pictures.filters(first_filters(s.network.model), f"{s.network.name}: first layer"), "filters")


def two_towers(s: Context) -> None:
    """The AlexNet of 2012: each tower's kernels, and how colourful they are."""
    try:
        both = towers(s.network.model)
    except ValueError as error:
        raise NotApplicable(str(error)) from None
    colourful = [saturation(kernel) for kernel in both]
    s.draw(plots.two_towers(both, colourful, f"{s.network.name}: the two towers"), "towers")
    s.say("colour saturation of the towers: " + ", ".join(f"{c.mean():.3f}" for c in colourful))


def gradcam(s: Context) -> None:
    """Grad-CAM over every image, for its most probable class."""
    n, shown = s.network, [(name, s.fed(image)) for name, image in _needed(s)[:32]]
    x = n.preprocessing(np.stack([image for _, image in shown]))
    answers = np.asarray(n.model(x, training=False))
    with deep_recursion():
        heats = grad_cam(n.model, x, answers.argmax(1))
    said = [f"{n.classes[a.argmax()]} {a.max():.0%}" for a in answers]
    s.draw(plots.overlays([_rgb(i) for _, i in shown], heats, said, f"{n.name}: Grad-CAM"), "gradcam")


def maps(s: Context) -> None:
    """The feature maps of each endpoint, for the first images."""
    n = s.network
    names = [name for name, tensor in endpoints(n.model).items() if len(tensor.shape) == 4]
    if not names:
        raise NotApplicable(f"{n.name} has no named endpoints")
    extract = feature_extractor(n.model, names)
    for name, image in _needed(s)[:FEW]:
        seen = s.fed(image)
        found = extract(n.preprocessing(seen[None]), training=False)
        drawn = {key: np.asarray(found[key])[0] for key in names}
        s.draw(plots.feature_maps(seen, drawn, f"{n.name}: feature maps"), f"maps-{Path(name).stem}")


def class_map(s: Context) -> None:
    """Class probabilities at every place of a photograph, from the network slid over it."""
    import tensorflow as tf

    n = s.network
    try:
        slid = fully_convolutional(n.model)
    except ValueError as error:
        raise NotApplicable(str(error)) from None
    for name, image in _needed(s)[:FEW]:
        shorter = min(image.shape[:2])
        by = min(max(shorter, LAID_OPEN[0] * n.size), LAID_OPEN[1] * n.size) / shorter
        sides = [max(n.size, round(side * by)) for side in image.shape[:2]]
        photo = tf.image.resize(image, sides, antialias=True)
        x = n.preprocessing(np.asarray(pipeline.with_channels(photo[None], n.channels)))
        scores = np.asarray(slid(x, training=False))[0]
        shown = _rgb(np.asarray(tf.cast(tf.clip_by_value(photo, 0, 255), tf.uint8)))
        s.draw(
            plots.score_maps(shown, scores, n.size, n.classes, f"{n.name}, slid over {Path(name).name}"),
            f"places-{Path(name).stem}",
        )


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
    for name, image in _needed(s)[:FEW]:
        x = n.preprocessing(s.fed(image)[None])
        found = {key: np.asarray(value)[0] for key, value in extract(x, training=False).items()}
        figure = lenet.walk(
            x[0, ..., 0], found, found[rbf.name], codes, sparse.table, f"{n.name}: {Path(name).name}"
        )
        s.draw(figure, f"layers-{Path(name).stem}")


def _needed(s: Context) -> list[tuple[str, np.ndarray]]:
    if not s.images:
        raise NotApplicable("give images, or --data to take some from")
    return s.images


def _rgb(image: np.ndarray) -> np.ndarray:
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
