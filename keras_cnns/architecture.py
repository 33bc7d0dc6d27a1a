"""`Architecture`: a row (network body) with name, head, input shape, preprocessing and citation."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from keras_cnns.deep import deep_recursion
from keras_cnns.guard import check_model_file
from keras_cnns.preprocessing import Preprocessing
from keras_cnns.surgery.fuse import fuse
from keras_cnns.values import Count, Value
from keras_cnns.weights import loading, registry
from keras_cnns.weights.names import INFERENCE


@dataclass(frozen=True)
class Architecture(Value):
    """A network as a frozen value: printed, compared, changed by `dataclasses.replace`, written to JSON.

    Attributes:
        name: command-line name, and the default name of the models it builds.
        row: body, image -> features.
        head: (features, classes, activation) -> predictions; `head.loss()` is its training loss.
        input_shape: default (height, width, channels).
        classes: default number of classes.
        preprocessing: from 0-255 RGB to the network's input.
        citation: description and paper; first line of the `__doc__` of the value.
        min_size: smallest height and width.
    """

    name: str
    row: Callable
    head: Callable
    input_shape: tuple[Count, Count, Count]
    classes: Count
    preprocessing: Preprocessing
    citation: str
    min_size: Count = 32

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "__doc__", _DOC.format(a=self, shape="x".join(map(str, self.input_shape))))

    def __call__(
        self,
        include_top: bool = True,
        weights: str | Path | None = None,
        input_tensor=None,
        input_shape: tuple[int | None, int | None, int] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | Callable | None = "softmax",
        name: str | None = None,
    ) -> keras.Model:
        """Builds the network as a functional `keras.Model`, with the signature of `keras.applications`.

        Args:
            include_top: whether to add the classifier; without it the output is the last feature map (n, h, w, c).
            weights: None for random initialisation; a tag of `keras_cnns.list_weights()`; "imagenet" for the best
                of them that allows commercial use; or a path to `.safetensors` or `.pth` (PyTorch's layouts),
                `.h5` (`keras.applications`), `.weights.h5` or `.keras`. Where they need a different row
                (`for_weights`), number of classes or channels, the network is adapted and the change is logged. A
                RepVGG file in inference form gives the network in that form.
            input_tensor: a Keras tensor to use as input instead of a new one.
            input_shape: (height, width, channels); None leaves height or width open where the head
                allows it. Without a top it defaults to (None, None, channels).
            pooling: without a top: None, "avg" or "max" (then the output is (n, c)).
            classes: number of classes; None means the architecture's own.
            classifier_activation: activation of the classifier; None gives logits.
            name: name of the model.

        Raises:
            ValueError: an invalid argument, before any layer is built; or the weights do not fit.
            ConnectionError: known weights cannot be downloaded; the message tells how to load them offline.
        """
        shape = self._checked_shape(input_shape, input_tensor, include_top)
        given = self._check(include_top, weights, pooling, classes, classifier_activation, name)
        suited = self
        if given is not None:
            given.fetch()
            suited = self._suited(given, classes if include_top else 0)
        model = suited._build(shape, input_tensor, include_top, pooling, classes, classifier_activation, name)
        if given is not None:
            with deep_recursion():
                if given.change == INFERENCE:
                    model = fuse(model)
                given.load(model)
        return model

    def _build(self, shape, input_tensor, include_top, pooling, classes, classifier_activation, name):
        """Builds the network from checked arguments."""
        with deep_recursion():
            image = keras.Input(shape, name="image") if input_tensor is None else input_tensor
            x = self.row(image)
            if include_top:
                x = self.head(x, self.classes if classes is None else classes, classifier_activation)
            elif pooling is not None:
                x = _POOLINGS[pooling](name=f"{pooling}_pool")(x)
            sources = keras.utils.get_source_inputs(image)
            return keras.Model(
                sources[0] if len(sources) == 1 else sources, x, name=self.name if name is None else name
            )

    def for_weights(self, weights: str | Path) -> "Architecture":
        """This architecture adapted to weights: row, preprocessing, and the map size that a dense head reads.

        Known weights also define what a file cannot show: where a unit strides, how the stem pools, what is
        subtracted from the image. `ResNet50(weights=tag)` builds `ResNet50.for_weights(tag)` and loads the
        weights.

        Raises:
            ValueError: no such tag or file; a tag for a row that is not the published one.
        """
        return self._suited(loading.given(weights, self.name), 0)

    def _suited(self, given: loading.Given, classes: int | None) -> "Architecture":
        """`for_weights`; with `classes` None, a file with another number of classes is an error."""
        if classes is None and given.path and given.classes not in (None, self.classes):
            rule = f"the classifier of {given.asked} has {given.classes} classes, {self.name} {self.classes}"
            raise ValueError(f"{rule}: give classes={given.classes} to load it, or other classes= for a new one")
        changes = {"row": given.suited(self.row)}
        if given.entry is not None:
            changes["preprocessing"] = given.entry.preprocessing
        if hasattr(self.head, "cells"):
            with deep_recursion():
                cells = tuple(self.row(keras.Input(self.input_shape)).shape[1:])
            if given.reads_cells(cells):
                changes["head"] = replace(self.head, cells=cells[:2])
        return replace(self, **changes)

    def preprocess_input(self, x, weights: str | None = None):
        """Preprocesses 0-255 RGB (..., channels) for this network, or for its weights of that tag; never in place.

        >>> import keras_cnns, numpy as np
        >>> white = np.full((1, 1, 1, 3), 255, "uint8")
        >>> [round(float(v), 4) for v in keras_cnns.ResNet50.preprocess_input(white).ravel()]
        [2.2489, 2.4286, 2.64]
        >>> tag = "timm/resnet34.ra4_e3600_r224_in1k"
        >>> [float(v) for v in keras_cnns.ResNet34.preprocess_input(white, weights=tag).ravel()]
        [1.0, 1.0, 1.0]
        """
        entry = None if weights is None else loading.given(weights, self.name).entry
        return (self if entry is None else entry).preprocessing(x)

    def decode_predictions(self, predictions, top: int = 5, labels=None) -> list[list[tuple[str, float]]]:
        """The `top` most probable classes of every row of (n, classes), as (label, probability), best first.

        Args:
            labels: names of the classes; default for 1,000 classes: those of ImageNet.

        Raises:
            ValueError: there are no labels, or their number is not that of the classes.
        """
        scores = np.asarray(predictions)
        if scores.ndim != 2:
            raise ValueError(f"predictions must have shape (n, classes), got {scores.shape}")
        if labels is None:
            if scores.shape[1] != len(registry.class_names()):
                raise ValueError(f"the names of {scores.shape[1]} classes are unknown: give labels=")
            labels = [name for _, name in registry.class_names()]
        if len(labels) != scores.shape[1]:
            raise ValueError(f"labels must have {scores.shape[1]} names, one for each class, got {len(labels)}")
        order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
        return [[(str(labels[i]), float(row[i])) for i in best] for row, best in zip(scores, order, strict=True)]

    def with_unit(self, **changes) -> "Architecture":
        """A copy with changed fields of its row's unit, as `ResNet50.with_unit(stride_at=1)`."""
        return replace(self, row=self.row.with_unit(**changes))

    def _checked_shape(self, input_shape, input_tensor, include_top: bool):
        channels = self.input_shape[-1]
        if isinstance(input_shape, list):
            input_shape = tuple(input_shape)
        if input_tensor is not None:
            if not keras.utils.is_keras_tensor(input_tensor):
                raise ValueError(f"input_tensor must be a Keras tensor, got {type(input_tensor).__name__}")
            own = tuple(input_tensor.shape[1:])
            if input_shape is not None and input_shape != own:
                raise ValueError(f"input_shape must be that of input_tensor, {own}, got {input_shape}")
            input_shape = own
        if input_shape is None:
            input_shape = self.input_shape if include_top else (None, None, channels)
        shape = input_shape
        good = isinstance(shape, tuple) and len(shape) == 3 and _is_count(shape[2])
        if not good or not all(s is None or _is_count(s) for s in shape[:2]):
            raise ValueError(f"input_shape must be (height, width, channels), got {shape}")
        small = [s for s in shape[:2] if s is not None and s < self.min_size]
        if small:
            raise ValueError(f"{self.name} needs images of at least {self.min_size} pixels a side, got {shape}")
        if include_top and None in shape and not getattr(self.head, "any_size", True):
            raise ValueError(f"the dense layers of {self.name} need a fixed height and width, got {shape}")
        if keras.config.image_data_format() != "channels_last":
            raise ValueError("image_data_format must be 'channels_last', got 'channels_first'")
        return shape

    def _check(self, include_top: bool, weights, pooling, classes, classifier_activation, name):
        if pooling not in (None, *_POOLINGS):
            raise ValueError(f"pooling must be None, 'avg' or 'max', got {pooling!r}")
        if include_top and pooling is not None:
            raise ValueError(f"pooling needs include_top=False, got pooling={pooling!r} with include_top=True")
        if classes is not None and not _is_count(classes):
            raise ValueError(f"classes must be a positive integer, got {classes!r}")
        try:
            keras.activations.get(classifier_activation)
        except (ValueError, TypeError):
            rule = "classifier_activation must be None, the name of a Keras activation or a callable"
            raise ValueError(f"{rule}, got {classifier_activation!r}") from None
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"name must be a non-empty string without a slash, got {name!r}")
        return None if weights is None else loading.given(weights, self.name)


def _is_count(value) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and value > 0


def load_model(path: str | Path) -> keras.Model:
    """Loads a `.keras` file, also of a very deep network.

    Raises:
        ValueError: the file is missing, not a Keras model, or could run code or open files.
    """
    if not Path(path).is_file():
        raise ValueError(f"no model file {str(path)!r}")
    check_model_file(Path(path))
    with deep_recursion():
        return keras.models.load_model(path)


_POOLINGS = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}

_DOC = """{a.citation}

Call it to build a functional `keras.Model`; the arguments are those of `keras.applications`, see
`keras_cnns.architecture.Architecture`. Input {shape} of `preprocess_input(images)`, output (n, {a.classes})
probabilities; images from {a.min_size} pixels a side.

Example:

>>> import keras_cnns
>>> model = keras_cnns.create_model("{a.name}", classes=10)
>>> model.output_shape
(None, 10)
"""
