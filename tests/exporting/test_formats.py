"""Every family through every format, in the runtimes that will run it."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from small import learn, run_folder, untrained
from support import MINIATURES, images, randomise

from keras_cnns.zoo import ARCHITECTURES
from training.classification import trained
from training.data import sources
from training.data.dataset import Split
from training.data.storage import Pixels
from training.errors import RunError
from training.exporting import (
    export_model,
    exporter,
    formats,
    provenance,
    runtime_worker,
    tflite,
    writers,
)
from training.exporting.verification import Verifier

QUICK = ("lenet5", "alexnet", "sknet26", "resnest14", "repvgg_b1g4", "resnext50_32x4d")
SOME = [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in MINIATURES]


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("name", SOME)
def test_tflite_has_builtin_operations_and_the_same_numbers(name, tmp_path):
    one = export_model.build(untrained(MINIATURES[name], randomise))
    tflite.write("none", one, tmp_path / "model.tflite")
    x = pixels(3, one.network.size, one.network.size, one.network.channels)
    want = np.asarray(one.network.model(one.network.preprocessing(x)))
    found = runtime_worker.tflite(str(tmp_path / "model.tflite"), 1)("", [x])["probabilities"]
    np.testing.assert_allclose(found, want, atol=1e-4)
    found = tflite.operations((tmp_path / "model.tflite").read_bytes())
    convolutions = sum(n for op, n in found.items() if op.startswith("CONV_2D"))
    layers = [la for la in one.fused.layers if type(la).__name__ == "Conv2D"]
    assert convolutions >= len(layers)  # grouped ones are one operation each, not taken apart
    assert convolutions <= len(layers) + 4
    assert not [op for op in found if op.startswith("custom")]


def test_int8_is_int8_throughout(tmp_path):
    one = export_model.build(untrained(MINIATURES["seresnet18"], randomise))
    x = pixels(20, one.network.size, one.network.size, 3)
    content = tflite.convert(tflite.with_native_layers(one.whole), "int8", x)
    assert not [op for op in tflite.operations(content) if op.endswith("in float")]


def test_an_operation_that_tflite_lacks_is_an_error():
    import keras

    x = keras.Input((8, 8, 3))
    model = keras.Model(x, keras.ops.erfinv(x))
    with pytest.raises(ValueError, match="TFLite"):
        tflite.convert(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20", "alexnet", "resnext50_32x4d"])
def test_onnx(name, tmp_path):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    one = export_model.build(untrained(MINIATURES[name], randomise))
    writers.onnx(one, tmp_path / "model.onnx")
    x = pixels(3, one.network.size, one.network.size, 3)
    want = np.asarray(one.network.model(one.network.preprocessing(x)))
    found = runtime_worker.onnx(str(tmp_path / "model.onnx"), 1)("", [x])["probabilities"]
    np.testing.assert_allclose(found, want, atol=1e-4)


def test_onnx_without_its_packages(monkeypatch):
    monkeypatch.setattr(writers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="--to onnx needs tf2onnx: pip install 'keras-cnns"):
        formats.choose("onnx", None)


EVERYTHING = tuple(formats.FORMATS[f] for f in formats.FORMATS if f != "model.onnx")
# One of every family; epochs that it takes to learn the digits.
FAMILIES = {
    "lenet5": 8,
    "lenet5_modern": 4,
    "alexnet": 12,
    "alexnet_owt": 12,
    "vgg11_bn": 6,
    "nin_cifar": 24,
    "googlenet_tv": 6,
    "vgg11_lrn": 12,
    "resnet20": 8,
    "resnet50": 6,
    "resnet18_v2": 6,
    "wrn16_4": 8,
    "resnext50_32x4d": 6,
    "seresnet18": 6,
    "sknet26": 6,
    "resnest14": 6,
    "repvgg_a0": 6,
    "repvgg_b1g4": 6,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_trained_miniature_through_every_format(name, tmp_path):
    small = replace(MINIATURES.get(name, ARCHITECTURES[name]), classes=10)
    run = run_folder(tmp_path / "run", small, FAMILIES[name])
    network, out = trained.from_run(run), tmp_path / "out"
    model = export_model.build(
        network, provenance=provenance.from_run(run), data=sources.digits(), images=180, max_drop=0.03
    )
    exporter.export(model, EVERYTHING, out, 1)
    for file, found in json.loads((out / "export.json").read_text())["files"].items():
        assert found["keras_top1"] > 0.7, "it has not learned enough to say anything"
        if formats.FORMATS[file].exact:
            assert found["largest_difference"] < 1e-4, file
        assert found["agreement"] >= 0.95, file


# --- quantization-aware training --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken():
    """A RepVGG trained on the digits, the same network in float, but with channels of unequal scale in all layers:
    what breaks RepVGG in int8 (Chu et al. 2022, arXiv 2212.01593). A channel before a ReLU may be scaled if the
    next layer is scaled by the inverse.
    """
    small = replace(MINIATURES["repvgg_a0"], classes=10)
    data = sources.digits()
    network = untrained(small, lambda model: model)
    learn(network.model, network.preprocessing, data.train, 8)
    one = export_model.build(network, data=data)
    for model in (one.fused, one.whole):
        layers = [la for la in model.layers if type(la).__name__ == "Conv2D"]
        for layer, reader in pairwise(layers):
            loud = np.where(np.arange(layer.filters) % 8 == 0, 60.0, 1.0).astype("float32")
            layer.kernel.assign(layer.kernel * loud)
            layer.bias.assign(layer.bias * loud)
            reader.kernel.assign(reader.kernel / loud[:, None])
    return one


@pytest.mark.slow
def test_qat_restores_a_network_that_int8_breaks(broken, tmp_path):
    one = broken
    x = images(2, *one.network.model.input_shape[1:])
    np.testing.assert_allclose(one.fused(x), one.network.model(x), atol=1e-4)  # in float nothing has changed
    one.network.model.save(tmp_path / "reference.keras")
    form, path = formats.QUANTIZE["int8"], tmp_path / "model_int8.tflite"
    with Verifier(one, tmp_path / "reference.keras", 1) as verifier:
        form.write(one, path)
        before = verifier.verify(form, path)
        form.write(replace(one, qat=20), path)
        after = verifier.verify(form, path)
    assert before["drop"] > 0.05
    assert after["drop"] < 0.02
    with pytest.raises(RunError, match=r"eight bits lose most in .*stage.*; try --qat 1, or --quantize int16x8"):
        one.check(form, before)


@pytest.mark.slow
def test_a_file_of_another_network_is_refused(tmp_path):
    """Files are really verified: with wrong weights nothing is published, and the message says why."""
    run = run_folder(tmp_path / "run", replace(MINIATURES["repvgg_a0"], classes=10), 4)
    other = export_model.build(
        untrained(replace(MINIATURES["repvgg_a0"], classes=10), lambda m: randomise(m, seed=7))
    )

    def write_other(kind):
        def write(model, path):
            formats.QUANTIZE[kind].write(replace(other, data=model.data), path)

        return replace(formats.QUANTIZE[kind], write=write)

    model = export_model.build(
        trained.from_run(run),
        provenance=provenance.from_run(run),
        data=sources.digits(),
        images=100,
        max_drop=0.01,
    )
    with pytest.raises(
        RunError, match=r"it loses 0\.\d+ of top-1 ± 0\.\d+ on only 100 images, --max-drop allows 0\.01"
    ):
        exporter.export(model, (write_other("int8"),), tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()
    with pytest.raises(RunError, match="a probability differs from that of the network by"):
        exporter.export(model, (write_other("none"),), tmp_path / "out", 1)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_images_are_shown_as_the_pipeline_shows_them():
    network = untrained(MINIATURES["resnet18"], randomise)
    one = export_model.build(replace(network, crop=0.875))
    grey = Split(Pixels(pixels(3, 20, 30, 1)), np.zeros(3, int))
    shown = one.read(grey, [2, 0])
    assert shown.shape == (2, network.size, network.size, 3)
    assert one.shorter_side == round(network.size / 0.875)
    np.testing.assert_array_equal(shown[..., 0], shown[..., 2])
