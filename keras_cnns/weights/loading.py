"""Loads weights given as `weights=` (a tag or a path) into a network: downloads, recognises and assigns them."""

import logging
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras

from keras_cnns.weights import download, registry, tensors
from keras_cnns.weights.changes import CHANGES
from keras_cnns.weights.keras_applications import as_ours
from keras_cnns.weights.matching import choose, fill, layouts
from keras_cnns.weights.names import INFERENCE
from keras_cnns.weights.registry import Entry
from keras_cnns.weights.saving import ARCHITECTURE, STRUCTURE, structure
from keras_cnns.weights.tensors import Source

# The bias of the classifier in all layouts; AlexNet and VGG number their dense layers (classifier.6).
TORCH_CLASSES = tuple(
    f"{name}.bias" for name in ("fc", "last_linear", "head.fc", "linear", "classifier.6", "classifier")
)
LOG = logging.getLogger("keras_cnns")


@dataclass(frozen=True)
class Given:
    """Weights requested for a network: known ones or a file.

    Attributes:
        arch: name of the architecture.
        asked: the tag or path.
        entry: the known weights, or None.
        path: the file, or None for known weights.
    """

    arch: str
    asked: str
    entry: Entry | None = None
    path: Path | None = None

    def fetch(self) -> Source:
        """Downloads known weights if they are not in the cache, and opens the file; does so once.

        Raises:
            Unreachable: the download failed.
            ValueError: the file cannot be read.
        """
        return self.source

    @cached_property
    def source(self) -> Source:
        """The file's tensors; fetched on first use, see `fetch`."""
        return tensors.read(self.path or _fetched(self.entry))

    @cached_property
    def change(self) -> str:
        """Name of the change of the row that these weights need, or "". Known weights need no file for this."""
        if self.entry is not None:
            return self.entry.change
        if self.source.kind == "own":
            return ""
        marked = [la for la in layouts(self.source.kind) if la.mark and la.mark in self.source.tensors]
        return marked[0].change if marked else ""

    def suited(self, row):
        """The row that these weights need; a change is logged.

        Raises:
            ValueError: known weights for a row that differs from the published one.
        """
        own = registry.rows().get(self.arch) == registry.fingerprint(row)
        if self.entry is not None and not own:
            raise ValueError(f"{self.asked} fits only the published {self.arch}; this row was changed")
        if self.change in ("", INFERENCE):
            return row
        if not own:
            LOG.warning(
                "%s: the row of this %s was changed and may not be that of the weights", self.asked, self.arch
            )
            return row
        row, what = CHANGES[self.change](row)
        LOG.info("%s: %s is built as these weights need it: %s", self.asked, self.arch, what)
        return row

    def reads_cells(self, cells: tuple[int, int, int]) -> bool:
        """True if the first dense layer of these weights reads a map of this size."""
        if self.entry is not None:
            return True
        count = math.prod(cells)
        return any(
            len(t.shape) in (2, 4) and count in (math.prod(t.shape[1:]), math.prod(t.shape[:-1]))
            for t in self.source.tensors.values()
        )

    @property
    def classes(self) -> int | None:
        """Number of classes of a file's classifier; None if it has none or its names are unknown."""
        names = {"torch": TORCH_CLASSES, "keras": ("predictions/bias",), "own": ("logits/1",)}[self.source.kind]
        found = [self.source.tensors[name].shape for name in names if name in self.source.tensors]
        return found[0][0] if found and len(found[0]) == 1 else None

    def load(self, model: keras.Model) -> list[str]:
        """Loads all weights into the model or none; returns and logs a line for each adaptation.

        Raises:
            Unreachable: known weights cannot be downloaded.
            ValueError: the file does not fit, or has values that are not finite.
        """
        source = self.source
        self._check_origin(model)
        if source.kind == "own" and not any(f"{layer.name}/0" in source.tensors for layer in model.layers):
            return _by_keras(model, source)
        layout, wanted = choose(model, source)
        if layout is not None and source.kind == "keras":
            source = as_ours(source, layout)
        lines = fill(model, source, layout, wanted)
        for line in lines:
            LOG.warning("%s", line)
        LOG.info("%s: %d tensors loaded into %s", self.asked, len(wanted), model.name)
        return lines

    def _check_origin(self, model: keras.Model) -> None:
        """Rejects a file of another network; warns if it does not name its network and a similar one exists."""
        facts = self.source.metadata
        named, built = facts.get(ARCHITECTURE), facts.get(STRUCTURE)
        if named is not None or built is not None:
            if built not in (None, structure(model)) or (built is None and named != self.arch):
                what = "not of" if named != self.arch else "but strides, pools or adds elsewhere than"
                raise ValueError(f"{self.source.path} holds weights of {named}, {what} this {self.arch}")
            return
        others = registry.twins(self.arch)
        if others and self.entry is None and not _same_stages(self.source, model):
            LOG.warning(
                "%s: the file does not name its network; %s has weights of the same shapes as %s",
                self.asked,
                " and ".join(others),
                self.arch,
            )


def _same_stages(source: Source, model: keras.Model) -> bool:
    """True if a file with the names of all layers has those of the model, including additions and paddings."""
    own = {layer.name for layer in model.layers if layer.name.startswith("stage")}
    return own == {name for name in source.layers if name.startswith("stage")}


def given(weights: str | Path, arch: str) -> Given:
    """Looks up `weights=` for a network, without downloading or reading.

    Raises:
        ValueError: no such tag or file; the message suggests the nearest tag, or the endings of a path.
    """
    if not isinstance(weights, str | Path):
        raise ValueError(f"weights must be None, a tag or a path, got {weights!r}")
    path, asked = Path(weights), str(weights)
    if asked.endswith(tensors.ENDINGS):
        if not path.is_file():
            raise ValueError(f"no weights file {asked!r}")
        return Given(arch, asked, path=path)
    if path.is_file():
        raise ValueError(f"a weights file must end in {', '.join(tensors.ENDINGS)}, got {asked!r}")
    entry = registry.find(asked, arch)
    return Given(arch, entry.name, entry)


def _fetched(entry: Entry) -> Path:
    """The file of known weights, from the cache or downloaded; logs the weights and their licence first."""
    LOG.info("%s", entry)
    if not entry.permissive:
        LOG.warning("%s may not be used commercially: %s", entry.name, entry.licence)
    if entry.file.endswith(".pth"):
        _needs_torch(entry)
    if entry.source == registry.OWN:
        return registry.packaged(entry)
    if entry.on_hub:
        return download.from_hub(entry.location, entry.file)
    path = download.cache_folder() / entry.file
    return download.fetch(entry.location, path, sha256=entry.sha256_prefix, md5=entry.md5)


def _needs_torch(entry: Entry) -> None:
    """Raises ValueError before a download that could not be read without PyTorch."""
    try:
        import torch  # noqa: F401
    except ImportError:
        other = registry.without_torch(entry.arch)
        instead = f"; {other.name} does not" if other else ""
        raise ValueError(
            f"{entry.name} is published as a pickle, which needs PyTorch (pip install torch){instead}"
        ) from None


def _by_keras(model: keras.Model, source: Source) -> list[str]:
    """Loads a file with other layer names by Keras, which matches layers by class and order."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipping nested container")  # Keras also raises for missing weights
            model.load_weights(source.path)
    except (ValueError, OSError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{source.path} does not fit {model.name} {model.output_shape}: {first}") from error
    return []
