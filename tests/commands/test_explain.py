"""What the command draws of the network that comes with the package, of LeNet-5 and of AlexNet's towers."""

import csv
import runpy
import sys

import numpy as np
import pytest
from PIL import Image
from support import MINIATURES, ROOT

import keras_cnns
from training import errors

OWN = ("--arch", "resnet20", "--weights", "keras_cnns/resnet20.fashion_mnist")


def explain(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["explain.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "training" / "explain.py"), run_name="command")["main"]()


def is_drawn(path):
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_a_photograph(tmp_path, monkeypatch, capsys):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 52, 3), "uint8")).save(photo)
    explain(monkeypatch, *OWN, "--out", tmp_path / "seen", photo)
    said = capsys.readouterr()
    drawn = {path.name for path in (tmp_path / "seen").iterdir()}
    assert drawn == {"filters.png", "gradcam.png", "maps-photo.png", "places-photo.png"}
    for name in drawn:
        is_drawn(tmp_path / "seen" / name)
        assert str(tmp_path / "seen" / name) in said.out
    left_out = [line.split(": ")[1] for line in said.err.splitlines() if line.startswith("left out")]
    assert left_out == ["towers", "lenet_walk", "nearest", "projector"]


@pytest.mark.slow
def test_nearest_and_projector(tmp_path, monkeypatch, capsys):
    """On digits, on which the network was not trained: its features separate them better than chance."""
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    from training.visualize import neighbours

    monkeypatch.setattr(neighbours, "MAX_IMAGES", 300)
    monkeypatch.setattr(neighbours, "MAX_QUERIES", 50)
    monkeypatch.setattr(neighbours, "MAX_POINTS", 60)
    explain(monkeypatch, *OWN, "--data", "digits", "--what", "nearest,projector", "--out", tmp_path)
    with open(tmp_path / "nearest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["bytes an image"] for row in rows] == ["256", "8", "8"]
    assert all(float(row["precision of 10"]) > 0.2 for row in rows)
    assert "precision of 10" in capsys.readouterr().out
    config = text_format.Parse((tmp_path / "projector" / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [e.tensor_name for e in config.embeddings] == ["features", "PCA", "t-SNE"]
    for embedding, width in zip(config.embeddings, (64, 2, 2), strict=True):
        lines = (tmp_path / "projector" / embedding.tensor_path).read_text().splitlines()
        assert {len(line.split("\t")) for line in lines} == {width}
        assert len(lines) == 60
        assert len((tmp_path / "projector" / embedding.metadata_path).read_text().splitlines()) == 60
    with Image.open(tmp_path / "projector" / "sprite.png") as sprite:
        assert sprite.size == (8 * 32, 8 * 32)
    for name in ("nearest", "features"):
        is_drawn(tmp_path / f"{name}.png")


def test_lenet_layer_by_layer(tmp_path, monkeypatch):
    from training.visualize import lenet

    figures = []
    walk = lenet.walk
    monkeypatch.setattr(lenet, "walk", lambda *args: figures.append((walk(*args), args)) or figures[-1][0])
    keras_cnns.LeNet5().save_weights(tmp_path / "lenet.weights.h5")
    weights = ("--arch", "lenet5", "--weights", tmp_path / "lenet.weights.h5", "--data", "digits")
    explain(monkeypatch, *weights, "--what", "lenet_walk", "--out", tmp_path)
    figure, (image, maps, penalties, codes, *_) = figures[0]
    model = keras_cnns.LeNet5(weights=tmp_path / "lenet.weights.h5")
    assert {name: x.shape[-1] for name, x in maps.items() if name in ("C1", "S2", "C3", "S4")} == {
        "C1": 6, "S2": 6, "C3": 16, "S4": 16,
    }  # fmt: skip
    assert int(np.argmin(penalties)) == int(np.argmax(model(image[None, ..., None])))
    expected = ((np.asarray(maps["F6"]) - codes) ** 2).sum(1)
    np.testing.assert_allclose(penalties, expected, rtol=1e-4)
    titles = [axis.get_title() for axis in figure.axes]
    assert "table of C3: 60 kernels" in titles
    assert f"the least penalty is the answer: {int(np.argmin(penalties))}" in titles
    assert len([t for t in titles if t.startswith("code of")]) == 10
    is_drawn(tmp_path / "layers-digits-0.png")


def test_towers_of_alexnet(tmp_path, monkeypatch, capsys):
    small = MINIATURES["alexnet"]
    monkeypatch.setitem(keras_cnns.zoo.ARCHITECTURES, "alexnet", small)
    small(classes=3).save_weights(tmp_path / "net.weights.h5")
    explain(
        monkeypatch,
        *("--arch", "alexnet", "--weights", tmp_path / "net.weights.h5", "--what", "towers", "--out", tmp_path),
    )
    assert "colour saturation of the towers: 0." in capsys.readouterr().out
    is_drawn(tmp_path / "towers.png")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((*OWN, "--what", "filter"), "no view 'filter'; did you mean 'filters'?"),
        ((*OWN, "--what", "towers"), "towers: 'resnet20' does not have the two towers"),
        ((*OWN, "--what", "gradcam"), "gradcam: give images, or --data"),
        ((*OWN, "--what", "heat"), "gradcam: give images, or --data"),  # old names
        ((*OWN, "--what", "places"), "class_map: give images, or --data"),
        ((*OWN, "--what", "layers"), "lenet_walk: resnet20"),
        (("--run", "a", "--run", "b"), "--run must be given once, got 2 runs"),
        ((*OWN, "--what", "nearest"), "give --data"),
        ((), "give --run DIR, or --arch NAME"),
        ((*OWN, "nothing.png"), "no file or folder 'nothing.png'"),
    ],
)
def test_refusals(arguments, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.UsageError, match=line.replace("?", r"\?")):
        explain(monkeypatch, *arguments)
