"""Security check of a `.keras` file before Keras loads it.

Keras' safe mode rejects Lambda layers but has been bypassed several times. So this check accepts only layers that
neither run code from the file nor open files, and only consistent sizes. Files of weights alone have readers of
their own (`keras_cnns.weights.tensors`) and need no check here.
"""

import io
import json
import re
import zipfile
from pathlib import Path

MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
MOST_TEXT = 2**26  # bytes of config.json; that of ResNet-1202 has 7 MiB
KINDS = "layers|initializers|regularizers|constraints|activations|dtype_policies|models|optimizers|losses|metrics"
OWN = r"keras_cnns\.(layers|detection)(\.\w+)*"
MODULES = re.compile(rf"keras|keras\.({KINDS})(\.\w+)*|keras\.src\.models\.\w+|{OWN}")
# Layers that run code from the file, or open a path that it names.
BARRED = {
    *("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"),
    *("StringLookup", "IntegerLookup", "TextVectorization"),
}
FUNCTION = "function"  # the class name that Keras gives to functions
OURS = re.compile(r"keras_cnns>\w+")


def check_model_file(path: Path) -> None:
    """Raises ValueError with the reason for a `.keras` file that is damaged or could do harm."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist()]
            odd = sorted(set(names) - MEMBERS) or sorted({n for n in names if names.count(n) > 1})
            if odd:
                raise ValueError(f"must hold {', '.join(sorted(MEMBERS))}, each once, got {odd[0]!r}")
            for info in archive.infolist():
                if info.file_size > 1000 * max(info.compress_size, 1) or (
                    info.filename != "model.weights.h5" and info.file_size > MOST_TEXT
                ):
                    raise ValueError(f"unpacks {info.filename} to {info.file_size:,} bytes")
            config = json.loads(archive.read("config.json"))
            _check_config(config)
            _check_weights(archive)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable .keras file: {str(error).strip(chr(39))}") from None
    except ValueError as error:
        raise ValueError(f"{path} is refused: {error}") from None


def _check_config(config) -> None:
    """Checks that every object of the configuration is a stock layer or one of this package."""
    open_parts = [config]
    while open_parts:  # no recursion, since the file determines the depth
        part = open_parts.pop()
        if isinstance(part, list):
            open_parts += part
        elif isinstance(part, dict):
            open_parts += part.values()
            if "class_name" in part:
                _check_object(part)


def _check_object(part: dict) -> None:
    name, module, called = part["class_name"], part.get("module"), part.get("config")
    if name in BARRED:
        raise ValueError(f"{name!r} can run code or open files")
    if (name, module) == ("__keras_tensor__", None):
        return
    if name == FUNCTION:
        if not (isinstance(called, str) and OURS.fullmatch(called)):
            raise ValueError(f"the function {called!r} is not this package's")
    elif not (isinstance(name, str) and isinstance(module, str) and MODULES.fullmatch(module)):
        raise ValueError(f"{name!r} of the module {module!r} is neither a layer of Keras nor one of this package")


def _check_weights(archive: zipfile.ZipFile) -> None:
    """Checks that the HDF5 file contains its data itself, and no more than its size allows."""
    import h5py

    content = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(content), "r") as file:
        open_groups, declared, seen = [("", file)], 0, 0
        while open_groups:
            prefix, group = open_groups.pop()
            for name in group:
                place, seen = f"{prefix}/{name}", seen + 1
                if not isinstance(group.get(name, getlink=True), h5py.HardLink) or place.count("/") > 64:
                    raise ValueError(f"{place} in its weights is a link")
                item = group[name]
                if isinstance(item, h5py.Group):
                    open_groups.append((place, item))
                    continue
                if item.external or item.is_virtual or item.dtype.hasobject:
                    raise ValueError(f"{place} in its weights must be numbers in the file itself")
                declared += item.nbytes
                # Keras does not compress; a file that declares more data than it has is a decompression bomb.
                if declared > 4 * len(content) + 2**20 or seen > 10**6:
                    raise ValueError(
                        f"{place} in its weights declares the shape {item.shape}, more data than the file holds"
                    )
