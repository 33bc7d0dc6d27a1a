"""Matches the tensors of a file with the weights of a network, in both directions and completely."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

from keras_cnns import graph
from keras_cnns.weights.names import KERAS_LAYOUTS, TORCH_LAYOUTS, Layout
from keras_cnns.weights.tensors import Source, Tensor

CLASSES = ("logits", "aux1_logits", "aux2_logits")
HEADS = ("logits", "fc", "aux1_", "aux2_")  # prefixes of the layers after the body
SHOWN = 6

Cells = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Slot:
    """A weight of the network and its tensor in a file.

    Attributes:
        layer: its layer's name.
        weight: the Keras variable.
        theirs: name of the tensor in the file.
        cells: the map (height, width, channels) that a dense layer reads as a vector, or None.
        reads_image: whether it is the kernel of a convolution that reads the image.
    """

    layer: str
    weight: keras.Variable
    theirs: str
    cells: Cells | None = None
    reads_image: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape."""
        return tuple(self.weight.shape)


def layouts(kind: str) -> tuple[Layout, ...]:
    """All layouts of a kind of file."""
    return {"torch": TORCH_LAYOUTS, "keras": KERAS_LAYOUTS}[kind]


def slots(model: keras.Model, layout: Layout) -> list[Slot] | None:
    """All weights of a model with their names in a layout, or None if the layout lacks one."""
    layers = [layer for layer in model.layers if layer.weights]
    names = layout.names([layer.name for layer in model.layers])
    if any(layer.name not in names or not _bias_fits(layer, layout) for layer in layers):
        return None
    if any(w.name not in layout.spelling for layer in layers for w in layer.weights):
        return None
    flat, first = _flattened(model), _readers_of_the_image(model)
    return [
        Slot(
            layer.name,
            w,
            f"{names[layer.name]}{layout.separator}{layout.spelling[w.name]}",
            flat.get(layer.name) if w.name == "kernel" else None,
            layer.name in first and w.name == "kernel",
        )
        for layer in layers
        for w in layer.weights
    ]


def own_slots(model: keras.Model) -> list[Slot]:
    """All weights of a model with their names in Keras' own files."""
    first = _readers_of_the_image(model)
    return [
        Slot(layer.name, w, f"{layer.name}/{i}", None, layer.name in first and w.name == "kernel")
        for layer in model.layers
        for i, w in enumerate(layer.weights)
    ]


def _bias_fits(layer, layout: Layout) -> bool:
    return not isinstance(layer, keras.layers.Conv2D) or not layer.use_bias or layer.name.endswith(layout.biased)


def _flattened(model: keras.Model) -> dict[str, Cells]:
    """Dense layers that read a flattened map -> the map."""
    found, maps = {}, {}
    nodes, tensors = graph.trace(model)
    for node in nodes:
        source = node.inputs[0]
        if isinstance(node.layer, keras.layers.Flatten):
            maps[node.outputs[0]] = tuple(tensors[source].shape[1:])
        elif source in maps and isinstance(node.layer, keras.layers.Dense):
            found[node.layer.name] = maps[source]
        elif source in maps:
            maps[node.outputs[0]] = maps[source]  # dropout
    return found


def _readers_of_the_image(model: keras.Model) -> set[str]:
    """Convolutions that read the input directly or through padding only."""
    nodes, _ = graph.trace(model)
    image, found = {0}, set()
    for node in nodes:
        if node.inputs and node.inputs[0] in image:
            if isinstance(node.layer, keras.layers.Conv2D):
                found.add(node.layer.name)
            elif isinstance(node.layer, keras.layers.InputLayer | keras.layers.ZeroPadding2D):
                image.update(node.outputs)
    return found


def choose(model: keras.Model, source: Source) -> tuple[Layout | None, list[Slot]]:
    """The layout that matches most names of a file, and the model's weights in it.

    Raises:
        ValueError: no layout has all layers of the model.
    """
    if source.kind == "own":
        return None, own_slots(model)
    known = [(layout, found) for layout in layouts(source.kind) if (found := slots(model, layout)) is not None]
    if not known:
        family = "PyTorch library" if source.kind == "torch" else "keras.applications network"
        raise ValueError(f"{source.path} does not fit {model.name}: no {family} has a network of its layers")
    return max(known, key=lambda pair: sum(slot.theirs in source.tensors for slot in pair[1]))


# --- shapes -----------------------------------------------------------------------------------------------------


def torch_shapes(slot: Slot) -> list[tuple[int, ...]]:
    """The shapes that a weight may have in PyTorch."""
    shape = slot.shape
    if len(shape) == 4:
        return [(shape[3], shape[2], *shape[:2])]
    if len(shape) != 2:
        return [shape]
    if slot.cells is None:
        return [shape[::-1], (*shape[::-1], 1, 1)]
    h, w, c = slot.cells
    return [(shape[1], shape[0]), (shape[1], c, h, w)]


def torch_to_ours(slot: Slot, x: np.ndarray) -> np.ndarray:
    """A PyTorch tensor in Keras' order: (out, in, h, w) -> (h, w, in, out)."""
    if slot.cells and x.ndim == 2:
        h, w, c = slot.cells
        x = x.reshape(-1, c, h, w)
    if x.ndim == 4:
        x = x.transpose(2, 3, 1, 0)
        return x.reshape(-1, x.shape[-1]) if len(slot.shape) == 2 else x
    return x.T


def ours_to_torch(slot: Slot, x: np.ndarray) -> np.ndarray:
    """A Keras weight in PyTorch's order."""
    if x.ndim == 4:
        return x.transpose(3, 2, 0, 1)
    if slot.cells and x.ndim == 2:
        return x.reshape(*slot.cells, -1).transpose(3, 2, 0, 1).reshape(x.shape[::-1])
    return x.T


# --- filling ----------------------------------------------------------------------------------------------------


def fill(model: keras.Model, source: Source, layout: Layout | None, wanted: list[Slot]) -> list[str]:
    """Assigns all weights or none; returns a log line for each adaptation.

    Raises:
        ValueError: names or shapes do not match (listed for both sides), or values are not finite.
    """
    torch = source.kind == "torch"
    shapes: Callable[[Slot], list] = torch_shapes if torch else (lambda slot: [slot.shape])
    fresh, adapted, wrong = [], [], []
    for slot in wanted:
        tensor = source.tensors.get(slot.theirs)
        if tensor is None or tensor.shape in shapes(slot):
            continue
        if slot.layer in CLASSES and _differs_in(tensor.shape, shapes(slot), 0 if torch else -1):
            fresh.append(slot)
        elif slot.reads_image and _differs_in(tensor.shape, shapes(slot), 1 if torch else 2):
            adapted.append(slot)
        else:
            wrong.append(f"{slot.theirs} {tensor.shape}, wanted {' or '.join(map(str, shapes(slot)))}")
    missing = [slot.theirs for slot in wanted if slot.theirs not in source.tensors]
    surplus = _surplus(source, layout, wanted)
    if missing or surplus or wrong:
        raise ValueError(_mismatch(model, source, layout, missing, surplus, wrong))
    values = {}
    for slot in wanted:
        if slot not in fresh:
            x = source.tensors[slot.theirs].read()
            x = torch_to_ours(slot, x) if torch else x
            if not np.isfinite(x).all():
                raise ValueError(f"{source.path}: {slot.theirs} holds numbers that are not finite")
            values[slot.weight.path] = _channels(x, slot.shape[2]) if slot in adapted else x
    for slot in wanted:
        if slot.weight.path in values:
            slot.weight.assign(values[slot.weight.path])
    return [*_fresh_lines(source, fresh, torch), *_adapted_lines(source, adapted, torch)]


def _differs_in(shape: tuple, known: Iterable[tuple], axis: int) -> bool:
    """True if a shape differs from one of the known ones in that axis only."""
    return any(
        len(shape) == len(k) and [i for i in range(len(k)) if shape[i] != k[i]] == [axis % len(k)] for k in known
    )


def _surplus(source: Source, layout: Layout | None, wanted: list[Slot]) -> list[str]:
    """Unused tensors, without those of a classifier that the network does not have."""
    used = {slot.theirs for slot in wanted}
    left = [name for name in source.tensors if name not in used]
    built = {slot.layer for slot in wanted}
    heads = HEADS if layout is None else layout.head
    without = "logits" not in built
    # Auxiliary classifiers may be missing alone.
    spare = tuple(h for h in heads if without or (h.startswith("aux") and "aux1_logits" not in built))
    return [name for name in left if not spare or not name.startswith(spare)]


def _mismatch(model, source: Source, layout, missing, surplus, wrong) -> str:
    what = f" as {layout.title}" if layout else ""
    parts = [
        f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        for kind, names in (("missing", missing), ("surplus", surplus), ("of another shape", wrong))
        if names
    ]
    return f"{source.path} does not fit {model.name} {model.output_shape}{what}: {'; '.join(parts)}"


def _channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """The first kernel for other numbers of input channels: summed for one, else repeated and scaled (timm)."""
    own = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeated = np.concatenate([kernel] * math.ceil(channels / own), axis=2)[:, :, :channels]
    return repeated * (own / channels)


def _fresh_lines(source: Source, fresh: list[Slot], torch: bool) -> list[str]:
    kernels = [slot for slot in fresh if len(slot.shape) == 2]
    return [
        f"{source.path.name}: the classifier of {source.tensors[slot.theirs].shape[0 if torch else -1]} classes "
        f"is left out; {slot.layer} starts afresh with {slot.shape[-1]}"
        for slot in kernels
    ]


def _adapted_lines(source: Source, adapted: list[Slot], torch: bool) -> list[str]:
    return [
        f"{source.path.name}: the first kernel, {slot.layer}, has "
        f"{source.tensors[slot.theirs].shape[1 if torch else 2]} channels; "
        f"it is {'summed' if slot.shape[2] == 1 else 'repeated and scaled'} for {slot.shape[2]}"
        for slot in adapted
    ]


def replaced(source: Source, tensors: dict[str, np.ndarray]) -> Source:
    """A copy of a source with arrays as tensors."""
    found = {name: Tensor(x.shape, partial(np.asarray, x)) for name, x in tensors.items()}
    return Source(source.path, source.kind, found, source.metadata)
