"""From what stands after `weights=` to a filled network: a tag or a path, fetched, recognised, assigned."""

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

# The biases of the classes, by all layouts; AlexNet's and VGG's other dense layers are numbered too.
TORCH_CLASSES = tuple(
    f"{name}.bias" for name in ("fc", "last_linear", "head.fc", "linear", "classifier.6", "classifier")
)
LOG = logging.getLogger("keras_cnns")


@dataclass(frozen=True)
class Given:
    """Weights that were asked for, for a network of that name: known ones, or a file.

    Attributes:
        arch: name of the architecture.
        asked: what was given.
        entry: the known weights, or None.
        path: the file, or None while known weights have not been fetched.
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
        """Name of what these weights want otherwise than the network's row, or "". Known weights need no file."""
        if self.entry is not None:
            return self.entry.change
        if self.source.kind == "own":
            return ""
        marked = [la for la in layouts(self.source.kind) if la.mark and la.mark in self.source.tensors]
        return marked[0].change if marked else ""

    def suited(self, row):
        """The row that these weights want; a change is logged.

        Raises:
            ValueError: known weights, and the row is not the zoo's.
        """
        own = registry.rows().get(self.arch) == registry.fingerprint(row)
        if self.entry is not None and not own:
            raise ValueError(f"{self.asked} fits only the published {self.arch}; the row of this one was changed")
        if self.change in ("", INFERENCE):
            return row
        if not own:
            LOG.warning("%s: its network is not the row of this %s, which was changed", self.asked, self.arch)
            return row
        row, what = CHANGES[self.change](row)
        LOG.info("%s: %s is built as these weights want it: %s", self.asked, self.arch, what)
        return row

    def reads_cells(self, cells: tuple[int, int, int]) -> bool:
        """Whether the first dense layer of these weights reads a map of that many cells and channels."""
        if self.entry is not None:
            return True
        count = math.prod(cells)
        return any(
            len(t.shape) in (2, 4) and count in (math.prod(t.shape[1:]), math.prod(t.shape[:-1]))
            for t in self.source.tensors.values()
        )

    @property
    def classes(self) -> int | None:
        """Classes that a file's classifier knows; None where it has none, or its names do not tell."""
        names = {"torch": TORCH_CLASSES, "keras": ("predictions/bias",), "own": ("logits/1",)}[self.source.kind]
        found = [self.source.tensors[name].shape for name in names if name in self.source.tensors]
        return found[0][0] if found and len(found[0]) == 1 else None

    def load(self, model: keras.Model) -> list[str]:
        """Fills the model, wholly or not at all; returns, and logs, a line on everything that was adapted.

        Raises:
            Unreachable: known weights cannot be fetched.
            ValueError: the file does not fit, or holds numbers that are not finite.
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
        """Refuses a file that says it is another network's; warns where it cannot say and a twin exists."""
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
                "%s: the file does not say which network it is of; %s has weights of the same shapes as %s",
                self.asked,
                " and ".join(others),
                self.arch,
            )


def _same_stages(source: Source, model: keras.Model) -> bool:
    """Whether a file that names all layers names the model's: an addition or a padding tells twins apart."""
    own = {layer.name for layer in model.layers if layer.name.startswith("stage")}
    return own == {name for name in source.layers if name.startswith("stage")}


def given(weights: str | Path, arch: str) -> Given:
    """What `weights=` names, for a network: looked up, not yet fetched or read.

    Raises:
        ValueError: no tag and no file; the message names the nearest tag, or what a path must end in.
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
    """The file of known weights, from its cache or fetched; says first which they are and under which licence."""
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
    """Says before half a gigabyte is fetched that it could not be read."""
    try:
        import torch  # noqa: F401
    except ImportError:
        other = registry.without_torch(entry.arch)
        instead = f"; {other.name} does not" if other else ""
        raise ValueError(
            f"{entry.name} is published as a pickle, which needs PyTorch (pip install torch){instead}"
        ) from None


def _by_keras(model: keras.Model, source: Source) -> list[str]:
    """A file of stock layers with other names: Keras goes by their classes and order."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipping nested container")  # where weights miss, Keras raises too
            model.load_weights(source.path)
    except (ValueError, OSError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{source.path} does not fit {model.name} {model.output_shape}: {first}") from error
    return []
