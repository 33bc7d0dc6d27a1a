"""Everything needed to repeat a run, as a value: `config.json` is this, and a run is rebuilt from it."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import keras

from keras_cnns import values, zoo
from keras_cnns.architecture import Architecture
from keras_cnns.models.googlenet import AUX_MIN_SIZE, AUX_WEIGHT, GoogLeNetArchitecture
from keras_cnns.preprocessing import Preprocessing
from keras_cnns.values import Count, Range, Value
from training import recipe
from training.recipe import Recipe
from training.report.folder import write_text
from training.starts import STARTS

# What may differ when a run is taken up again: how it computes, not what.
FREE = ("replicas", "xla", "workers")
OWN = "run:"  # before a path from the run's folder, which may be moved


class Repeatable(Value):
    """What a run is made of, so that it can be repeated and taken up again. `PARTS` is what its JSON may name."""

    PARTS: ClassVar[Mapping[str, Callable]]

    def differences(self, other: "Repeatable") -> list[str]:
        """Fields, by path, in which another run differs from this one, as "epochs: 30 here, 60 asked"."""
        return differing(self, other, (*FREE, "version"))


@dataclass(frozen=True)
class Config(Repeatable):
    """One training run of a classifier.

    Attributes:
        architecture, recipe: the values themselves.
        data: as given to `--data`.
        classes: names, in the order of the outputs.
        preprocessing: from 0-255 pixels to what the network is fed.
        image_size, channels: of what the network is fed.
        seed: of the weights, the order and the augmentation.
        replicas, precision, xla: as chosen.
        workers: processes, as chosen.
        norms: batch statistics of every replica's "own" share, or "synchronised" over all.
        weights: tag or file the run started from, or None; "run:start.keras" is a file made for it, which goes
            wherever the run's folder goes. `start_of` resolves it.
        engine: what Keras ran on; another draws other numbers.
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
        """What the network is fed, without the batch axis."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def has_training_heads(self) -> bool:
        """Whether the network trains with auxiliary heads: GoogLeNet, where its maps are large enough for them."""
        large = self.image_size >= AUX_MIN_SIZE and not self.recipe.growing
        return large and isinstance(self.architecture, GoogLeNetArchitecture)

    def build(self) -> keras.Model:
        """The network, with softmax and initialised as published."""
        return self._build(self.input_shape)[0]

    def build_for_training(self) -> tuple[keras.Model, list[tuple]]:
        """The network, and the logits to train on, each with its share in the loss, the network's own first.

        The heads of GoogLeNet share its layers and are no part of the network itself. Where images grow, the
        network takes any size.
        """
        plain, logits = self._build((None, None, self.channels) if self.recipe.growing else self.input_shape)
        heads = keras.Model(plain.inputs, [output for output, _ in logits])
        STARTS[self.recipe.start](heads, self.seed)
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
        return plain, [(whole.get_layer(name).output, share) for name, share in names]


def differing(one: Value, other: Value, free: tuple[str, ...]) -> list[str]:
    """Fields, by path, in which two values differ, but for the `free` ones."""
    mine, theirs = flat(values.encode(one)), flat(values.encode(other))
    paths = [p for p in dict.fromkeys((*mine, *theirs)) if p not in free]
    return [f"{p}: {mine.get(p)!r} here, {theirs.get(p)!r} asked" for p in paths if mine.get(p) != theirs.get(p)]


def fixed(config: Repeatable) -> dict:
    """All that may not change when a run is taken up again, by path."""
    encoded = values.encode(config, original=True)  # so that renaming keeps the digest in checkpoints
    return {path: value for path, value in flat(encoded).items() if path not in (*FREE, "version")}


def digest(config: Repeatable) -> str:
    """Hash of `fixed`."""
    return hashlib.sha256(json.dumps(sorted(fixed(config).items()), default=str).encode()).hexdigest()


PARTS = Config.PARTS = {**zoo.PARTS, **recipe.PARTS, "Config": Config}


def write(config: Repeatable, folder: Path) -> None:
    """Writes `config.json`."""
    write_text(folder / "config.json", values.to_json(config) + "\n")


def read(folder: Path, kind: type = Config) -> Repeatable:
    """The configuration of a run folder, of a classifier or of another kind.

    Raises:
        ValueError: there is none, or it is not one that this package wrote.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ValueError(f"no run in {str(folder)!r}: it has no config.json")
    try:
        config = values.from_json(path.read_text(encoding="utf-8"), kind.PARTS)
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from None
    if not isinstance(config, kind):
        raise ValueError(f"{path} holds a {type(config).__name__}, not a run's {kind.__name__}")
    return config


def start_of(config: Config, folder: Path) -> str | None:
    """The tag or file that a run in this folder started from, or None."""
    if config.weights is None or not config.weights.startswith(OWN):
        return config.weights
    return os.path.normpath(Path(folder) / config.weights.removeprefix(OWN))


def as_trained(architecture: Architecture, weights: Path | None) -> Architecture:
    """The architecture with the preprocessing of the run whose `model.keras` these weights are, if they are one's.

    Raises:
        ValueError: the file lies in a run folder whose `config.json` cannot be read.
    """
    if weights is None or weights.name != "model.keras" or not (weights.parent / "config.json").is_file():
        return architecture
    config = read(weights.parent)
    if config.architecture.name != architecture.name:
        return architecture
    return replace(architecture, preprocessing=config.preprocessing)


def flat(data, path: str = "") -> dict:
    """Nested JSON data as {"recipe.optimizer.rate": 0.1, ...}."""
    if isinstance(data, dict):
        items = [(f"{path}.{k}".lstrip("."), v) for k, v in data.items()]
        return {k: v for p, d in items for k, v in flat(d, p).items()}
    return {path: tuple(map(str, data)) if isinstance(data, list) else data}
