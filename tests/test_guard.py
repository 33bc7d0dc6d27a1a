"""Hostile `.keras` files: refused before Keras builds anything, with the offence named, and nothing happens."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import keras_cnns
from keras_cnns import guard
from keras_cnns.guard import check_model_file


def layers(*extra: dict) -> dict:
    """The configuration of a sequential model."""
    first = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 2]}}
    config = {"name": "m", "trainable": True, "layers": [first, *extra]}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None}


def stock(name, module="keras.layers", **config) -> dict:
    return {"module": module, "class_name": name, "config": {"name": "x", **config}, "registered_name": None}


def weights(fill=lambda file: None) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_group("layers")
        fill(file)
    return content.getvalue()


def archive(path: Path, config: dict, content: bytes | None = None, **more: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("metadata.json", json.dumps({"keras_version": keras.__version__}))
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", weights() if content is None else content)
        for name, data in more.items():
            file.writestr(name, data)
    return path


CODE = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}
OPEN = {"module": "builtins", "class_name": "function", "config": "open", "registered_name": "function"}
CONFIGS = {
    "lambda": (layers(stock("Lambda", function=CODE)), "'Lambda' can run code or open files"),
    "saved model": (layers(stock("TFSMLayer", filepath="/etc")), "'TFSMLayer' can run code"),
    "torch": (layers(stock("TorchModuleWrapper", module="")), "'TorchModuleWrapper' can run code"),
    "vocabulary": (layers(stock("StringLookup", vocabulary="/etc/passwd")), "'StringLookup' can run code or open"),
    "any function": (
        layers(stock("Dense", units=1, activation=OPEN)),
        "the function 'open' is not this package's",
    ),
    "any module": (layers(stock("system", module="os")), "'system' of the module 'os' is neither"),
    "Keras' own tools": (
        layers(stock("get_file", module="keras.utils")),
        "'get_file' of the module 'keras.utils'",
    ),
    "code to unpack": (layers(stock("Dense", units=1, bias_initializer=CODE)), "'__lambda__' of the module None"),
    "unsafe mode": (layers(stock("enable_unsafe_deserialization", module="keras.config")), "'keras.config'"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configurations(tmp_path, case):
    config, says = CONFIGS[case]
    with pytest.raises(ValueError, match="is refused: ") as refused:
        keras_cnns.load_model(archive(tmp_path / "m.keras", config))
    assert says in str(refused.value)


def bomb(file):
    """A data set of 4 TB, of which nothing is stored."""
    file["layers"].create_dataset("vars", (10**6, 10**6), "f4", chunks=(1000, 1000), compression="gzip")


def linked(file):
    file["layers/vars"] = h5py.ExternalLink("/etc/passwd", "/")


def external(file):
    file["layers"].create_dataset("vars", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (4,))
    file["layers"].create_virtual_dataset("vars", layout)


def objects(file):
    file["layers"].create_dataset("vars", data=np.array(["a", "b"], object), dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    ("fill", "says"),
    [(bomb, "declares the shape"), (linked, "is a link"), (external, "must be numbers"),
     (virtual, "must be numbers"), (objects, "must be numbers")],
)  # fmt: skip
def test_weights(tmp_path, fill, says):
    path = archive(tmp_path / "m.keras", layers(stock("Dense", units=1)), weights(fill))
    with pytest.raises(ValueError, match=f"is refused: .*{says}"):
        keras_cnns.load_model(path)


@pytest.mark.parametrize("name", ["../canary", "/canary", "assets/vocabulary.txt", "config.json/../canary"])
def test_members_outside_the_target(tmp_path, name):
    path = archive(tmp_path / "m.keras", layers(), **{name: b"x"})
    with pytest.raises(ValueError, match="is refused: must hold"):
        keras_cnns.load_model(path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["m.keras"]


def test_damaged_files(tmp_path):
    whole = archive(tmp_path / "m.keras", layers()).read_bytes()
    for content in (b"", b"PK", whole[: len(whole) // 2], b"\0" * 100, b"<html>404</html>"):
        (tmp_path / "bad.keras").write_bytes(content)
        with pytest.raises(ValueError, match=r"is not a readable \.keras file"):
            keras_cnns.load_model(tmp_path / "bad.keras")
    nested = b'{"a":' * 100_000
    with zipfile.ZipFile(tmp_path / "deep.keras", "w") as file:
        file.writestr("config.json", nested)
    with pytest.raises(ValueError, match=r"deep.keras is (refused|not a readable)"):
        keras_cnns.load_model(tmp_path / "deep.keras")


BOUNDED = """
import importlib.util, resource, sys
from pathlib import Path
import h5py
spec = importlib.util.spec_from_file_location("guard", sys.argv[2])
guard = importlib.util.module_from_spec(spec)
spec.loader.exec_module(guard)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
try:
    guard.check_model_file(Path(sys.argv[1]))
except ValueError as error:
    print(error)
"""


def test_a_bomb_is_refused_in_200_mb(tmp_path):
    """A quarter of a gigabyte of zeros in a file of a quarter of a megabyte."""
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("config.json", "w") as member:
            for _ in range(256):
                member.write(bytes(2**20))
        file.writestr("model.weights.h5", weights(bomb))
    done = subprocess.run([sys.executable, "-c", BOUNDED, path, guard.__file__], capture_output=True, text=True)
    assert "is refused: unpacks config.json to 268,435,456 bytes" in done.stdout, done.stderr


def test_our_own_files_pass(tmp_path):
    for name, options in (("lenet5", {}), ("resnet20", {"input_shape": (16, 16, 3)})):
        model = keras_cnns.create_model(name, **options)
        model.save(tmp_path / "m.keras")
        check_model_file(tmp_path / "m.keras")
        again = keras_cnns.load_model(tmp_path / "m.keras")
        np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
