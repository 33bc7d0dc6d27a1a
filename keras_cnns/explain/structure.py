"""The structure of a network for drawing: stages of units of boxes; equal consecutive units are drawn once."""

import re
from dataclasses import dataclass, field
from itertools import pairwise

import keras
from keras import layers as stock

from keras_cnns import graph

# Layer names -> (title of the stage, name of the unit or None). The first match counts.
PLACES: tuple[tuple[str, str, str | None], ...] = (
    (r"stage(\d+)_unit(\d+)_.*", r"stage \1", r"\1.\2"),
    (r"stage(\d+)_.*", r"stage \1", None),
    (r"stem_.*", "stem", None),
    (r"finish_.*", "classifier", None),
    (r"(inception_(\d)[a-z])(_.*)?", r"inception \2", r"\1"),
    (r"aux(\d)_.*", r"auxiliary head \1", None),
    (r"conv([2-5])_block(\d+)_.*", r"conv\1", r"\1.\2"),  # keras.applications
    (r"block(\d+)_.*", r"block \1", None),
)
# Not drawn.
THROUGH = (stock.ZeroPadding2D, stock.Identity, stock.Permute, stock.InputLayer)
# Written into the box of the previous layer.
FOLLOWERS = (
    stock.BatchNormalization,
    stock.Activation,
    stock.ReLU,
    stock.LeakyReLU,
    stock.Softmax,
    stock.Dropout,
    stock.Rescaling,
)
JOINS = (stock.Add, stock.Concatenate, stock.Multiply, stock.Average, stock.Maximum)


@dataclass(eq=False)
class Box:
    """A layer with its text; `inputs` are the boxes that it reads."""

    kind: str
    title: str
    notes: list[str]
    shape: str
    layer: str
    inputs: list["Box"] = field(default_factory=list)

    @property
    def text(self) -> tuple:
        return self.kind, self.title, *self.notes, self.shape


@dataclass(eq=False)
class Unit:
    """Boxes that belong together; `like` are the equal units directly after it."""

    boxes: list[Box]
    like: list["Unit"] = field(default_factory=list)

    @property
    def last(self) -> Box:
        return self.boxes[-1]

    def signature(self) -> tuple:
        place = {id(b): i for i, b in enumerate(self.boxes)}
        return tuple((b.text, tuple(place.get(id(i), -1) for i in b.inputs)) for b in self.boxes)


@dataclass(eq=False)
class Panel:
    """A stage."""

    title: str
    units: list[Unit]


def panels(model: keras.Model) -> list[Panel]:
    """The stages of a model in order, by layer names, or by map size if the names give no stage."""
    found: list[Panel] = []
    unit_of: dict[str, Unit] = {}
    for box in _boxes(model):
        title, name = _place(box)
        if name is not None and name in unit_of:
            unit_of[name].boxes.append(box)
            continue
        unit = Unit([box])
        if name is not None:
            unit_of[name] = unit
        panel = next((p for p in found if p.title == title), None)
        # A named stage is one panel even if its layers are not consecutive; maps of one size only if they are.
        if panel is None or (not re.search("[a-z]", title) and panel is not found[-1]):
            found.append(panel := Panel(title, []))
        panel.units.append(unit)
    for panel in found:
        panel.units = _counted(_joined(panel.units))
    return found


def _joined(units: list[Unit]) -> list[Unit]:
    """Joins up to 12 single boxes that branch into one unit, whose lanes show the connections."""
    boxes = [unit.last for unit in units]
    alone = all(len(unit.boxes) == 1 for unit in units) and len(units) <= 12
    chain = all(after.inputs == [before] for before, after in pairwise(boxes))
    return [Unit(boxes)] if alone and not chain else units


def _counted(units: list[Unit]) -> list[Unit]:
    """Keeps the first of equal consecutive units of several boxes, with the others in its `like`."""
    kept = units[:1]
    for before, unit in pairwise(units):
        if len(unit.boxes) > 1 and unit.signature() == before.signature():
            kept[-1].like.append(unit)
        else:
            kept.append(unit)
    return kept


def _place(box: Box) -> tuple[str, str | None]:
    for pattern, title, unit in PLACES:
        match = re.fullmatch(pattern, box.layer)
        if match:
            return match.expand(title), unit and match.expand(unit)
    if box.kind == "input":
        return "input", None
    size = box.shape.split("x")
    return ("classifier" if len(size) < 3 else f"{size[0]}x{size[1]}"), None


def _boxes(model: keras.Model) -> list[Box]:
    nodes, tensors = graph.trace(model)
    readers: dict[int, int] = {}
    for node in nodes:
        for i in node.inputs:
            readers[i] = readers.get(i, 0) + 1
    boxes, behind = [], {}  # tensor -> box
    for i, source in enumerate(graph.ends(model)[0]):
        behind[i] = Box(
            "input", "image" if len(source.shape) == 4 else source.name, [], _size(source.shape), source.name
        )
        boxes.append(behind[i])
    for node in nodes:
        layer, shape = node.layer, _size(tensors[node.outputs[0]].shape)
        before = [behind[i] for i in node.inputs]
        if isinstance(layer, THROUGH) and len(before) == 1:
            box = before[0]
        elif isinstance(layer, FOLLOWERS) and _follows(layer, before[0], readers[node.inputs[0]]):
            box = before[0]
            box.notes.append(_short(layer))
            box.shape = shape
        else:
            kind, title = _describe(layer)
            title, *notes = title.split("; ")
            box = Box(kind, title, notes, shape, layer.name, list(dict.fromkeys(before)))
            boxes.append(box)
        behind.update((t, box) for t in node.outputs)
    return boxes


def _follows(layer, before: Box, readers: int) -> bool:
    """True if a layer belongs to the box before it; a norm after a sum begins the next (pre-activation) unit."""
    if readers > 1 or before.kind == "input":
        return False
    if isinstance(layer, stock.BatchNormalization) and before.kind == "join":
        return False
    return _place(Box("", "", [], before.shape, layer.name))[1] == _place(before)[1]


def _size(shape) -> str:
    return "x".join("?" if s is None else str(s) for s in shape[1:])


def _short(layer) -> str:
    if isinstance(layer, stock.BatchNormalization):
        return "BN"
    if isinstance(layer, stock.Activation):
        return _activation(layer)
    return {
        "ReLU": "ReLU",
        "Softmax": "softmax",
        "Dropout": "dropout",
        "Rescaling": f"x {getattr(layer, 'scale', 1)}",
    }.get(type(layer).__name__, type(layer).__name__)


def _activation(layer) -> str:
    name = getattr(layer.activation, "__name__", "activation")
    return {"relu": "ReLU", "scaled_tanh": "tanh", "silu": "SiLU"}.get(name, name)


def _describe(layer) -> tuple[str, str]:
    """(kind, title) of a box; notes follow the title after semicolons."""
    name = type(layer).__name__
    if isinstance(layer, keras.Model):
        return "model", f"{layer.name} ({len(layer.layers)} layers)"
    if isinstance(layer, stock.DepthwiseConv2D):
        return "conv", f"{_window(layer.kernel_size)} depthwise{_stride(layer.strides)}"
    if isinstance(layer, stock.Conv2D):
        more = f"; {layer.groups} groups" if layer.groups > 1 else ""
        more += f"; dilation {layer.dilation_rate[0]}" if max(layer.dilation_rate) > 1 else ""
        title = f"{_window(layer.kernel_size)} conv, {layer.filters}{_stride(layer.strides)}{more}"
        return "conv", title
    if name == "SparseConv2D":
        return "conv", f"{layer.kernel_size}x{layer.kernel_size} sparse conv, {len(layer.table)}"
    if isinstance(layer, stock.Dense):
        return "dense", f"dense, {layer.units}"
    if isinstance(layer, stock.MaxPooling2D | stock.AveragePooling2D):
        if tuple(layer.pool_size) == (1, 1):
            return "pool", f"every {layer.strides[0]}nd pixel" if layer.strides[0] == 2 else "subsampling"
        word = "max" if isinstance(layer, stock.MaxPooling2D) else "average"
        return "pool", f"{_window(layer.pool_size)} {word} pool{_stride(layer.strides)}"
    if isinstance(layer, stock.GlobalAveragePooling2D):
        return "pool", "global average pool"
    if isinstance(layer, stock.GlobalMaxPooling2D):
        return "pool", "global max pool"
    if isinstance(layer, JOINS):
        return "join", {"Add": "+", "Multiply": "multiply", "Concatenate": "concatenate"}.get(name, name.lower())
    if isinstance(layer, FOLLOWERS):
        return "norm", _short(layer)
    return "other", {
        "PadChannels": "zero channels",
        "SubSampling2D": "2x2 sub-sampling",
        "LocalResponseNormalization": "LRN",
        "Cropping2D": "slice",
        "Reshape": "reshape",
        "Flatten": "flatten",
    }.get(name, name)


def _window(size) -> str:
    return f"{size[0]}x{size[1]}"


def _stride(strides) -> str:
    return f", stride {strides[0]}" if max(strides) > 1 else ""
