"""`--arch --weights` at the commands: known weights as they were measured, files by path, starting from either."""

import csv
import json
import runpy
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from support import MINIATURES, ROOT, randomise

import keras_cnns
from keras_cnns.weights import loading as weights_loading
from keras_cnns.weights import registry
from training import errors
from training.data.eval_transform import EvalTransform

IDS = ("n02123045", "n01440764", "n07753592")  # tabby, tench, banana: not in the order of the outputs


def run(name, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(ROOT / "training" / name), run_name="command")["main"]()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """DIR/{train,val}/WordNet id/image, of several sizes."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for i, name in enumerate(IDS):
            (root / split / name).mkdir(parents=True)
            for j in range(count):
                pixels = random.integers(0, 256, (70 + 9 * i, 100 - 7 * j, 3), "uint8")
                Image.fromarray(pixels).save(root / split / name / f"{j}.png")
    return root


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """ResNet-18 of random weights, as the hub would hold it."""
    folder = tmp_path_factory.mktemp("hub")
    model = randomise(keras_cnns.ResNet18(input_shape=(None, None, 3)))
    keras_cnns.save_torch_weights(model, folder / "own.safetensors")
    save_file(load_file(folder / "own.safetensors"), folder / "model.safetensors")
    return folder / "model.safetensors", model


@pytest.fixture
def hub(monkeypatch, published):
    monkeypatch.setattr(weights_loading.download, "from_hub", lambda repository, name: published[0])
    return published[1]


def test_evaluate_measures_as_published(hub, photos, monkeypatch, capsys):
    """Size, crop, filter and preprocessing of the tag; three classes of the thousand, by their WordNet ids."""
    tag = "timm/resnet18.a3_in1k"
    run("evaluate.py", monkeypatch, "--arch", "resnet18", "--weights", tag, "--data", photos, "--json")
    found = json.loads(capsys.readouterr().out)
    entry = registry.entries()[tag]
    assert (entry.eval_size, entry.resized, entry.interpolation) == (224, 235, "bicubic")
    assert (found["split"], found["n"]) == ("val", 6)
    view, places = EvalTransform(224, 235, "bicubic"), [i for i, _ in registry.class_names()]
    losses = []
    for path in sorted((photos / "val").rglob("*.png")):
        image = view(np.asarray(Image.open(path))[None])
        scores = np.asarray(hub(keras_cnns.ResNet18.preprocess_input(np.asarray(image), weights=tag)))[0]
        losses.append(-np.log(scores[places.index(path.parent.name)]))
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_evaluate_of_other_classes_is_refused(hub, tmp_path, monkeypatch):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((9, 9, 3), "uint8")).save(tmp_path / name / "0.png")
    with pytest.raises(errors.UsageError, match="has 1000 classes, the data set has 2"):
        run("evaluate.py", monkeypatch, "--arch", "resnet18", "--weights", "imagenet", "--data", tmp_path)


def test_predict_names_imagenets_classes(hub, photos, monkeypatch, capsys):
    image = photos / "val" / IDS[0] / "0.png"
    run("predict.py", monkeypatch, "--arch", "resnet18", "--weights", "imagenet", "--json", image)
    out = capsys.readouterr().out
    top = json.loads(out)["top"]
    pixels = EvalTransform(288, 288, "bicubic")(np.asarray(Image.open(image))[None])
    scores = hub(keras_cnns.ResNet18.preprocess_input(np.asarray(pixels), weights="imagenet"))
    (expected,) = keras_cnns.ResNet18.decode_predictions(scores)
    assert [t["label"] for t in top] == [name for name, _ in expected]
    assert top[0]["probability"] == pytest.approx(expected[0][1], rel=1e-4)


def test_a_file_says_how_many_classes_it_knows(tmp_path, monkeypatch, capsys):
    from training.classification import trained as classification_trained

    small = replace_in_zoo(monkeypatch)
    keras_cnns.save_torch_weights(small(classes=4), tmp_path / "net.safetensors")
    network = classification_trained.from_weights("resnet20", str(tmp_path / "net.safetensors"))
    assert network.classes == ("0", "1", "2", "3")
    with pytest.raises(ValueError, match="has 4 classes, the data set has 10"):
        classification_trained.with_classes(network, tuple("0123456789"))


def replace_in_zoo(monkeypatch):
    small = MINIATURES["resnet20"]
    monkeypatch.setitem(keras_cnns.zoo.ARCHITECTURES, "resnet20", small)
    return small


@pytest.mark.slow
def test_training_starts_from_a_file_of_other_classes(tmp_path, monkeypatch, capsys):
    """The classifier starts afresh, which the log says; the config holds the row and the preprocessing."""
    small = replace_in_zoo(monkeypatch)
    source = randomise(small(classes=4))
    keras_cnns.save_torch_weights(source, tmp_path / "net.safetensors")
    options = ("--arch", "resnet20", "--weights", tmp_path / "net.safetensors", "--run", tmp_path / "run")
    few = ("--epochs", "1", "--batch-size", "512", "--set", "optimizer.rate=0.000001")
    run("fit.py", monkeypatch, *options, *few)
    out = capsys.readouterr().out
    assert "the classifier of 4 classes is left out; logits starts afresh with 10" in out
    trained = keras_cnns.load_model(tmp_path / "run" / "model.keras")
    before, after = (m.get_layer("stage2_unit1_conv1").kernel.numpy() for m in (source, trained))
    np.testing.assert_allclose(after, before, atol=1e-3)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["weights"] == str(tmp_path / "net.safetensors")
    assert config["preprocessing"] == json.loads(keras_cnns.to_json(small.preprocessing))


def test_a_file_that_does_not_fit_leaves_no_run(tmp_path, monkeypatch):
    replace_in_zoo(monkeypatch)
    keras_cnns.save_torch_weights(MINIATURES["resnet50"](classes=4), tmp_path / "net.safetensors")
    with pytest.raises(errors.UsageError, match="holds weights of resnet50, not of this resnet20"):
        run("fit.py", monkeypatch, "--weights", tmp_path / "net.safetensors", "--run", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_network_is_a_failure_of_one_line(monkeypatch, tmp_path):
    def nowhere(repository, name):
        raise weights_loading.download.Unreachable(f"{name} of {repository} cannot be fetched")

    monkeypatch.setattr(weights_loading.download, "from_hub", nowhere)
    with pytest.raises(errors.RunError, match="cannot be fetched"):
        run("fit.py", monkeypatch, "--arch", "resnet18", "--weights", "imagenet", "--run", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def album(tmp_path):
    """Forty images, one of them turned by the camera, and a broken file."""
    folder = tmp_path / "album"
    folder.mkdir()
    random = np.random.default_rng(3)
    for i in range(40):
        Image.fromarray(random.integers(0, 256, (20, 31, 3), "uint8")).save(folder / f"{i:02}.png")
    mark = Image.Exif()
    mark[0x0112] = 8
    with Image.open(folder / "00.png") as first:
        first.transpose(Image.Transpose.ROTATE_270).save(folder / "turned.png", exif=mark)
    (folder / "broken.jpg").write_text("<html>404</html>")
    return folder


def test_predict_writes_a_table_and_a_sheet(album, tmp_path, monkeypatch, capsys):
    """A photograph held sideways has the very answer of the upright one."""
    small = replace_in_zoo(monkeypatch)
    weights = tmp_path / "net.safetensors"
    keras_cnns.save_torch_weights(small(classes=4), weights)
    files = ("--csv", tmp_path / "names.csv", "--sheet", tmp_path / "sheet.png")
    run("predict.py", monkeypatch, "--arch", "resnet20", "--weights", weights, "--top", 3, *files, "--json", album)
    out, err = capsys.readouterr()
    answers = {line["image"]: line["top"] for line in map(json.loads, out.splitlines())}
    assert len(answers) == 41
    assert f"left out: {album / 'broken.jpg'}: no image inside" in err
    assert "1 of 42 files could not be read" in err
    assert answers[str(album / "turned.png")] == answers[str(album / "00.png")]
    assert answers[str(album / "01.png")] != answers[str(album / "00.png")]
    with open(tmp_path / "names.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == list(answers)
    for row, top in zip(rows, answers.values(), strict=True):
        assert [row[f"label{i}"] for i in (1, 2, 3)] == [answer["label"] for answer in top]
        assert float(row["probability1"]) == top[0]["probability"]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 500
