"""`Config`: all that is needed to repeat a classifier's run; its `config.json`."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import keras

from keras_cnns import zoo
from keras_cnns.architecture import Architecture
from keras_cnns.models.googlenet import AUX_MIN_SIZE, AUX_WEIGHT, GoogLeNetArchitecture
from keras_cnns.preprocessing import Preprocessing
from keras_cnns.values import Count, Range
from training.recipes import recipe
from training.recipes.initializers import INITIALIZERS
from training.recipes.recipe import Recipe
from training.run_folder.config import IN_RUN_FOLDER, RunConfig


@dataclass(frozen=True)
class Config(RunConfig):
    """One training run of a classifier.

    Attributes:
        architecture, recipe: the values themselves.
        data: as given to `--data`.
        classes: names, in the order of the outputs.
        preprocessing: from 0-255 pixels to the network's input.
        image_size, channels: of the network's input.
        seed: of the weights, the order and the augmentation.
        replicas, precision, xla: as chosen.
        workers: processes, as chosen.
        norms: batch statistics of each replica alone ("own"), or "synchronised" over all.
        weights: tag or file the run started from, or None; "run:start.keras" is a file in the run's folder, which
            may be moved. `starting_weights` resolves it.
        engine: the Keras backend; another one draws other random numbers.
        dry: one step of everything.
    """

    architecture: Architecture
    recipe: Recipe
    data: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    image_size: Count
    channels: Count
    seed: Annotated[int, Range(0, 2**31 - 1)]
    replicas: Count
    precision: Literal["float32", "bfloat16", "float16"]
    xla: Literal["on", "off"]
    workers: Count = 1
    norms: Literal["own", "synchronised"] = "own"
    weights: str | None = None
    engine: Literal["tensorflow", "jax", "torch"] = "tensorflow"
    dry: bool = False
    version: str = ""

    @property
    def label(self) -> str:
        """What a run's folder is named after."""
        return self.architecture.name

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Of the network, without the batch axis."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def has_training_heads(self) -> bool:
        """Whether the network trains with auxiliary heads: GoogLeNet, where its maps are large enough for them."""
        large = self.image_size >= AUX_MIN_SIZE and not self.recipe.progressive_resizing
        return large and isinstance(self.architecture, GoogLeNetArchitecture)

    def build(self) -> keras.Model:
        """The network, with softmax and initialised as published."""
        return self._build(self.input_shape)[0]

    def build_for_training(self) -> tuple[keras.Model, list[tuple]]:
        """The network, and the logits to train on, each with its loss weight, the network's own first.

        The heads of GoogLeNet share its layers and are no part of the network itself. With progressive resizing
        the network takes any size.
        """
        plain, logits = self._build(
            (None, None, self.channels) if self.recipe.progressive_resizing else self.input_shape
        )
        heads = keras.Model(plain.inputs, [output for output, _ in logits])
        INITIALIZERS[self.recipe.initializer](heads, self.seed)
        return plain, logits

    def _build(self, shape: tuple) -> tuple[keras.Model, list[tuple]]:
        arch, options = self.architecture, {"input_shape": shape, "classes": len(self.classes)}
        if self.recipe.dropout:
            arch = arch.with_unit(dropout=self.recipe.dropout)
        if not self.has_training_heads:
            plain = arch(**options)
            return plain, [(plain.get_layer("logits").output, 1.0)]
        whole = arch(aux_heads=True, **options)
        plain = keras.Model(whole.input, whole.outputs[0], name=whole.name)
        names = (("logits", 1.0), ("aux1_logits", AUX_WEIGHT), ("aux2_logits", AUX_WEIGHT))
        return plain, [(whole.get_layer(name).output, weight) for name, weight in names]


PARTS = Config.PARTS = {**zoo.PARTS, **recipe.PARTS, "Config": Config}


def starting_weights(config: Config, folder: Path) -> str | None:
    """The tag or file that a run in this folder started from, or None."""
    if config.weights is None or not config.weights.startswith(IN_RUN_FOLDER):
        return config.weights
    return os.path.normpath(Path(folder) / config.weights.removeprefix(IN_RUN_FOLDER))


def with_run_preprocessing(architecture: Architecture, weights: Path | None) -> Architecture:
    """The architecture, with the preprocessing of a run if the weights are that run's `model.keras`.

    Raises:
        ValueError: the file lies in a run folder whose `config.json` cannot be read.
    """
    if weights is None or weights.name != "model.keras" or not (weights.parent / "config.json").is_file():
        return architecture
    config = Config.read(weights.parent)
    if config.architecture.name != architecture.name:
        return architecture
    return replace(architecture, preprocessing=config.preprocessing)
