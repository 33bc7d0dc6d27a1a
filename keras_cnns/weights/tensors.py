"""Readers of weights files: named tensors, whose values are read on demand. Nothing in a file is executed.

Each reader returns a `Source`. Values are read only after a tensor's shape has been checked, so that a file cannot
cause more memory to be allocated than the network's weights need.
"""

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

ENDINGS = (".safetensors", ".weights.h5", ".keras", ".h5", ".pth", ".pt")
INSIDE = "model.weights.h5"  # the weights in a `.keras` archive
MAX_MEMBER = 2**32
FLOATS = ("F64", "F32", "F16", "BF16")
COUNTER = "num_batches_tracked"  # of torch's batch norms; not a weight


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file: its shape, and a function that reads it as float32."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Source:
    """The tensors of a file by name.

    `kind` is "torch" (PyTorch's layouts), "keras" (`keras.applications`) or "own" (`.weights.h5` and `.keras`);
    `layers` are the names of all layers, with or without weights, if the file has them.
    """

    path: Path
    kind: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    layers: frozenset[str] = frozenset()


def read(path: Path) -> Source:
    """The tensors of a weights file, by its ending.

    Raises:
        ValueError: the file is damaged, malicious, or not of the kind of its ending.
    """
    # "x.weights.h5" also ends in ".h5": the longest matching ending counts.
    ending = max((e for e in ENDINGS if str(path).endswith(e)), key=len)
    try:
        return _READERS[ending](path)
    except (OSError, KeyError, RuntimeError) as error:  # the last two: a damaged HDF5 file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read as {ending}: {reason}") from None


# --- safetensors ------------------------------------------------------------------------------------------------


def _safetensors(path: Path) -> Source:
    from safetensors import SafetensorError, safe_open

    try:
        # Checks the header's length, that no tensors overlap, and that the file ends after the last one.
        file = safe_open(path, framework="np")
        slices = {name: file.get_slice(name) for name in file.keys() if not name.endswith(COUNTER)}  # noqa: SIM118
        facts = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as .safetensors: {error}") from None
    wrong = [f"{name} ({kind})" for name, (_, kind) in facts.items() if kind not in FLOATS]
    if wrong:
        raise ValueError(f"{path}: weights must be {', '.join(FLOATS)}, got {wrong[0]}")
    found = {name: Tensor(shape, partial(_from_safetensors, file, name)) for name, (shape, _) in facts.items()}
    return Source(path, "torch", found, file.metadata() or {})


def _from_safetensors(file, name: str) -> np.ndarray:
    import ml_dtypes  # noqa: F401 (registers bfloat16 with NumPy; a requirement of Keras)

    return np.asarray(file.get_tensor(name)).astype("float32")


# --- HDF5 -------------------------------------------------------------------------------------------------------


def _own(path: Path, content: Path | bytes) -> Source:
    """Layer -> weights, in Keras 3's format: numbered, with the layer's name as an attribute."""
    found, names, every = {}, {}, _datasets(path, content)
    with _h5(content) as file:
        for place in file.get("layers", ()):
            name = file[f"layers/{place}/vars"].attrs.get("name")
            names[place] = name if isinstance(name, str) else f"layers/{place}"
    for place, tensor in every.items():
        match = re.fullmatch(r"layers/([^/]+)/vars/(\d+)", place)
        if match:
            found[f"{names[match[1]]}/{match[2]}"] = tensor
    return Source(path, "own", found, {}, frozenset(names.values()))


def _own_h5(path: Path) -> Source:
    return _own(path, path)


def _own_archive(path: Path) -> Source:
    try:
        with zipfile.ZipFile(path) as archive:
            inside = archive.getinfo(INSIDE)
            if inside.compress_type != zipfile.ZIP_STORED or inside.file_size > MAX_MEMBER:
                raise ValueError(f"{path}: {INSIDE} must be stored uncompressed, at most {MAX_MEMBER:,} bytes")
            content = archive.read(INSIDE)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as .keras: {error}") from None
    return _own(path, content)


def _keras_h5(path: Path) -> Source:
    """Layer -> weights, in the format of Keras 1 and 2: `conv1_conv/conv1_conv/kernel:0`, `fc1/fc1_W_1:0`."""
    found = {}
    for name, tensor in _datasets(path, path).items():
        parts = name.removeprefix("model_weights/").split("/")
        layer = "predictions" if parts[0] == "probs" else parts[0]  # its former name
        found[f"{layer}/{_kind(parts[-1], tensor.shape)}"] = tensor
    return Source(path, "keras", found)


def _kind(leaf: str, shape: tuple[int, ...]) -> str:
    """`conv1_bn/gamma:0` -> "gamma"; the oldest files use W and b."""
    known = ("gamma", "beta", "moving_mean", "moving_variance")
    found = next((kind for kind in known if leaf.split(":")[0].endswith(kind)), None)
    return found or ("bias" if len(shape) == 1 else "kernel")


def _h5(content: Path | bytes):
    """Opens an HDF5 file, only briefly, since it cannot be written while it is open."""
    import h5py

    return h5py.File(io.BytesIO(content) if isinstance(content, bytes) else content, "r")


def _datasets(path: Path, content: Path | bytes) -> dict[str, Tensor]:
    """All data sets of an HDF5 file. Links, and data stored outside the file, are errors."""
    import h5py

    found = {}

    def visit(group, prefix: str) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{path}: {prefix}{name} is a link; links are not allowed")
            item = group[name]
            if isinstance(item, h5py.Group):
                if prefix.count("/") > 16:
                    raise ValueError(f"{path}: groups are nested more than 16 deep")
                visit(item, f"{prefix}{name}/")
            elif item.dtype.kind == "f":
                if item.external or item.is_virtual:
                    raise ValueError(f"{path}: {prefix}{name} lies outside the file")
                place = f"{prefix}{name}"
                found[place] = Tensor(tuple(item.shape), partial(_from_h5, content, place))

    with _h5(content) as file:
        visit(file, "")
    return found


def _from_h5(content: Path | bytes, name: str) -> np.ndarray:
    with _h5(content) as file:
        return file[name][()].astype("float32")


# --- pickles ----------------------------------------------------------------------------------------------------


def _pickle(path: Path) -> Source:
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path} is a pickle, which needs PyTorch (pip install torch); a .safetensors file does not"
        ) from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read by torch.load(weights_only=True): {reason}") from None
    for key in ("state_dict", "model"):
        content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise ValueError(f"{path} is not a state_dict (names -> tensors)")
    if all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): value for name, value in content.items()}
    found = {
        name: Tensor(tuple(value.shape), partial(_from_torch, value))
        for name, value in content.items()
        if not name.endswith(COUNTER)
    }
    return Source(path, "torch", found)


def _from_torch(tensor) -> np.ndarray:
    return tensor.float().numpy()


_READERS = {
    ".safetensors": _safetensors,
    ".weights.h5": _own_h5,
    ".keras": _own_archive,
    ".h5": _keras_h5,
    ".pth": _pickle,
    ".pt": _pickle,
}
