"""Trained classifiers: from a run folder, or an architecture with a weights file.

A run is rebuilt from this package's code, its validated `config.json` and the weights in `model.keras`; no code
of a file is executed.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from keras_cnns import zoo
from keras_cnns.deep import deep_recursion
from keras_cnns.preprocessing import Preprocessing
from keras_cnns.weights import registry
from keras_cnns.weights.loading import given
from training.classification import config as configs
from training.classification.config import Config
from training.data.dataset import Split
from training.data.eval_transform import EvalTransform
from training.report.stream import log_messages_to
from training.run_folder.checkpoints import weights_sha256
from training.run_folder.results import finished_result


@dataclass(frozen=True)
class Trained:
    """A trained classifier, with how its images are preprocessed and the names of its classes.

    Attributes:
        name: for people.
        model: gives probabilities, (n, classes).
        classes: names, in the order of the outputs.
        preprocessing: from 0-255 pixels to what the model takes.
        crop: share of the shorter side that a crop keeps, or a view of its own.
        views: "centre" or "ten" crops.
        data: the data set it was trained on, as given to `--data`; None if unknown.
        loss: of its head.
        ids: other names of the classes, as folders have them; ImageNet's are WordNet's.
    """

    name: str
    model: keras.Model
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    crop: float | EvalTransform
    views: str
    data: str | None
    loss: keras.losses.Loss
    ids: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Pixels of each side of its input."""
        return self.model.input_shape[1]

    @property
    def channels(self) -> int:
        """Channels of its input."""
        return self.model.input_shape[-1]


def from_run(folder: Path) -> Trained:
    """The network of a finished run.

    Raises:
        ValueError: no run there, not finished, or its files do not belong together.
    """
    config = Config.read(folder)
    path = Path(folder) / "model.keras"
    if not path.is_file():
        raise ValueError(f"the run in {str(folder)!r} is not finished: it has no model.keras (repeat its command)")
    with deep_recursion():
        model = config.build()
    with log_messages_to([].append):  # nothing to log about a run's own weights
        adapted = given(path, config.architecture.name).load(model)
    if adapted:
        raise ValueError(f"{folder}: model.keras is not the network of config.json; {adapted[0]}")
    check_hash(model, folder)
    name = f"{config.architecture.name} ({folder})"
    loss = config.architecture.head.loss()
    crop, views = config.recipe.test_crop, config.recipe.test_views
    return Trained(name, model, config.classes, config.preprocessing, crop, views, config.data, loss)


def check_hash(model: keras.Model, folder: Path) -> None:
    """Raises ValueError where the weights are not those of the run's `result.json`."""
    result = finished_result(folder)
    known = result and result.get("weights_sha256")
    if known and weights_sha256(model) != known:
        raise ValueError(f"the weights in {folder}/model.keras do not have the weights_sha256 in its result.json")


def from_weights(arch: str, weights: str, classes: tuple[str, ...] | None = None) -> Trained:
    """A network of the zoo with known weights (a tag) or a weights file.

    Known weights are evaluated as published: with their size, crop, filter, preprocessing, and ImageNet's classes.
    A file holds a number of classes; `classes` are their names, by default ImageNet's or numbers.

    Raises:
        ValueError: no such architecture, tag or file, or they do not fit.
        ConnectionError: known weights cannot be fetched.
    """
    architecture = zoo.architecture(arch)
    asked = given(weights, arch)
    loss = architecture.head.loss()
    imagenet = registry.class_names()
    if asked.entry is not None:
        entry = asked.entry
        model = architecture(weights=weights, input_shape=(entry.eval_size, entry.eval_size, 3))
        view = EvalTransform(entry.eval_size, entry.resized, entry.interpolation or "bilinear")
        ids, names = ((), entry.classes) if entry.classes else zip(*imagenet, strict=True)
        label = f"{arch} ({entry.name})"
        return Trained(label, model, names, entry.preprocessing, view, "centre", None, loss, ids)
    count = asked.classes or (len(classes) if classes else architecture.classes)
    model = architecture(weights=weights, classes=count)
    preprocessing = configs.with_run_preprocessing(architecture, asked.path).preprocessing
    if classes and len(classes) == count:
        return Trained(arch, model, classes, preprocessing, 0.875, "centre", None, loss)
    if count == len(imagenet):
        names, ids = tuple(n for _, n in imagenet), tuple(i for i, _ in imagenet)
        return Trained(arch, model, names, preprocessing, 0.875, "centre", None, loss, ids)
    return Trained(arch, model, tuple(map(str, range(count))), preprocessing, 0.875, "centre", None, loss)


def load_networks(runs: list[Path], arch: str | None, weights: str | None, classes=None) -> list[Trained]:
    """The networks that a command's arguments name: runs, or an architecture with weights and `classes`.

    Raises:
        ValueError: neither, both, or networks of different classes.
    """
    if bool(runs) == bool(arch):
        raise ValueError("give --run DIR, or --arch NAME with --weights TAG_OR_PATH")
    if arch and not weights:
        raise ValueError(f"--arch {arch} needs --weights TAG_OR_PATH (an untrained network predicts nothing)")
    if runs and weights:
        raise ValueError("--weights goes with --arch; a run has its own weights")
    networks = [from_run(run) for run in runs] if runs else [from_weights(arch, weights, classes)]
    for other in networks[1:]:
        if other.classes != networks[0].classes:
            raise ValueError(f"networks of an ensemble must have the same classes, {other.name} has others")
    return networks


def with_classes(network: Trained, classes: tuple[str, ...]) -> Trained:
    """The network with the names of a data set's classes.

    Raises:
        ValueError: another number of classes.
    """
    if len(classes) != len(network.classes):
        raise ValueError(f"{network.name} has {len(network.classes)} classes, the data set has {len(classes)}")
    return replace(network, classes=classes)


def with_labels_of(network: Trained, classes: tuple[str, ...], split: Split) -> tuple[Trained, Split]:
    """A network and a split whose labels count the classes alike.

    Folders named by the network's ids (ImageNet's WordNet ids) may be some of its classes.

    Raises:
        ValueError: another number of classes, and not such folders.
    """
    if network.ids and set(classes) <= set(network.ids):
        places = np.array([network.ids.index(c) for c in classes])
        return network, Split(split.images, places[split.labels])
    return with_classes(network, classes), split
