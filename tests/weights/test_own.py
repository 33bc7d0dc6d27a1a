"""The network that comes with the package: small, named, right, and picked by nobody who asks for ImageNet."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from support import ROOT

import keras_cnns
from keras_cnns.weights import registry
from training.classification import trained

TAG = "keras_cnns/resnet20.fashion_mnist"
CLOTHES = ROOT / "docs" / "pictures" / "clothes"
FASHION = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist


def command(name, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(ROOT / "training" / name), run_name="command")["main"]()


def test_the_entry_tells_all():
    entry = registry.entries()[TAG]
    assert entry in keras_cnns.list_weights("resnet20", licence="permissive")
    assert (entry.data, len(entry.classes), entry.licence) == ("Fashion-MNIST", 10, "apache-2.0")
    assert f"top-1 {entry.top1:g} % on Fashion-MNIST at 32" in str(entry)
    assert "python training/fit.py --arch resnet20" in entry.notes
    assert "MIT" in entry.notes
    assert registry.packaged(entry).stat().st_size < 2_000_000
    with pytest.raises(ValueError, match="no weights are known for resnet20"):
        registry.find("imagenet", "resnet20")


def test_it_names_clothes(monkeypatch, capsys):
    command("predict.py", monkeypatch, "--arch", "resnet20", "--weights", TAG, "--json", CLOTHES)
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    right = {
        Path(a["image"]).stem: Path(a["image"]).stem.replace("-", " ")
        == a["top"][0]["label"].lower().replace("/", " ")
        for a in answers
    }
    assert len(right) == 10
    assert sum(right.values()) >= 9, right


def test_it_starts_other_networks():
    """For other classes the head starts afresh; the preprocessing is its own."""
    model = keras_cnns.ResNet20(weights=TAG, classes=3)
    assert model.output_shape == (None, 3)
    suited = keras_cnns.ResNet20.for_weights(TAG)
    assert suited.preprocessing == registry.entries()[TAG].preprocessing
    white = np.full((1, 1, 1, 3), 255, "uint8")
    np.testing.assert_array_equal(keras_cnns.ResNet20.preprocess_input(white, TAG), suited.preprocessing(white))
    network = trained.from_weights("resnet20", TAG)
    assert network.classes[0] == "T-shirt/top"
    assert network.size == 32


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="Fashion-MNIST is not on this machine")
def test_its_accuracy_is_the_recorded_one(monkeypatch, capsys):
    command("evaluate.py", monkeypatch, "--arch", "resnet20", "--weights", TAG, "--data", FASHION, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == 10_000
    assert 100 * found["top1"] == pytest.approx(registry.entries()[TAG].top1, abs=0.02)
