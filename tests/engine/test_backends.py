"""Other engines, each that is installed, in a process of its own in which TensorFlow cannot be imported."""

import csv
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from elsewhere import REFUSED, outputs
from support import KINDS, ROOT

from training.classification import evaluation
from training.classification import trained as classification_trained
from training.data import sources
from training.engine import backends
from training.engine.keras_step import KerasStep, configure_optimizer
from training.engine.step import SoftCrossEntropy, StepModel
from training.recipes.optimizers import SGD

ENGINES = [
    pytest.param(
        name, marks=pytest.mark.skipif(not importlib.util.find_spec(name), reason=f"{name} is not installed")
    )
    for name in ("jax", "torch")
]
FEW = ["resnext50_32x4d"]  # norms and groups, the kernels that TensorFlow has for itself
HIDDEN = """
import runpy, sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "tensorflow" else find(name, *rest)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def elsewhere(engine: str, *words) -> None:
    """Runs a task of `elsewhere.py`; importing TensorFlow fails, as where it is not installed."""
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)))
    own = {"KERAS_BACKEND": engine, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiling is most of what is done here
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN, Path(__file__).with_name("elsewhere.py"), *map(str, words)],
        env={**os.environ, **own, **quick},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def compare(engine: str, names: list[str], folder: Path) -> None:
    elsewhere(engine, ",".join(names), folder)
    with np.load(folder / "outputs.npz") as theirs:
        for name, ours in outputs(names).items():
            scale = max(1.0, np.abs(ours).max())
            np.testing.assert_allclose(theirs[name] / scale, ours / scale, atol=1e-4, err_msg=name)


def trained(step, prepared: bool) -> tuple[list[np.ndarray], dict]:
    """Weights and measures after three steps of a network with a training head, by one of the two steps."""
    keras.utils.set_random_seed(3)
    x = keras.Input((6, 6, 3))
    y = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, name="conv")(x))
    heads = [
        keras.layers.Dense(5, name=name)(keras.layers.Flatten()(keras.ops.relu(y))) for name in ("main", "aux")
    ]
    shares, decay, undecayed, clip = (1.0, 0.3), 0.1, ("*/bias", "norm/*"), 0.5
    if prepared:
        model = step([x], heads, shares)
        optimizer = SGD(0.1).build(0.1, use_ema=True, ema_momentum=0.9)
        configure_optimizer(optimizer, model, decay, undecayed, clip)
    else:
        model = step([x], heads, decay, undecayed, shares, clip)
        optimizer = SGD(0.1).build(0.1, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, SoftCrossEntropy())
    rng = np.random.default_rng(0)
    images, labels = (
        rng.normal(size=(24, 6, 6, 3)).astype("float32"),
        rng.dirichlet(np.ones(5), 24).astype("float32"),
    )
    history = model.fit(images, labels, batch_size=8, shuffle=False, verbose=0).history
    measured = model.evaluate(images, labels, verbose=0, return_dict=True)
    return model.get_weights(), {
        **{k: v[0] for k, v in history.items()},
        **{f"val_{k}": v for k, v in measured.items()},
    }


def test_both_steps_are_the_same_algorithm():
    """Shares, decay and its exceptions, clipping, averages, soft labels, metrics."""
    ours, measures = trained(StepModel, prepared=False)
    theirs, others = trained(KerasStep, prepared=True)
    assert measures.keys() == others.keys() == {"loss", "top1", "val_loss", "val_top1"}
    assert others == pytest.approx(measures, rel=1e-5)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_networks_and_their_inference_forms_give_equal_numbers(engine, tmp_path, zeros):
    compare(engine, FEW, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_every_kind_of_network_gives_equal_numbers(engine, tmp_path, zeros):
    compare(engine, [name for name in KINDS if name not in FEW], tmp_path)


@pytest.fixture(scope="module", params=ENGINES)
def runs(request, tmp_path_factory):
    """(folder, results by name) of the runs of `elsewhere.training`."""
    folder = tmp_path_factory.mktemp(request.param)
    elsewhere(request.param, "training", folder)
    return folder, json.loads((folder / "results.json").read_text())


@pytest.mark.slow
def test_a_broken_run_ends_as_the_unbroken_one(runs):
    folder, results = runs
    tables = []
    for name in ("within", "unbroken"):
        with open(folder / name / "history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        tables.append([(r["epoch"], r["step"], r["loss"], r["val_top1"], r["rate"]) for r in rows])
    assert results["within"]["weights_sha256"] == results["unbroken"]["weights_sha256"]
    assert results["within"]["test"] == results["unbroken"]["test"]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_two_devices_train_as_one(runs):
    """JAX shares a step among devices; batch norm takes its statistics over the whole batch."""
    _, results = runs
    if "two" not in results:
        pytest.skip("one device")
    two, one = results["two"], results["unbroken"]
    assert (two["replicas"], one["replicas"]) == (2, 1)
    for split in ("train", "val", "test"):
        assert two[split]["loss"] == pytest.approx(one[split]["loss"], rel=1e-3)


@pytest.mark.slow
def test_bfloat16_trains_alike(runs):
    _, results = runs
    whole, half = results["unbroken"], results["bfloat16"]
    assert half["precision"] == "bfloat16"
    assert half["weights_sha256"] != whole["weights_sha256"]
    assert half["train"]["loss"] == pytest.approx(whole["train"]["loss"], rel=0.1)


@pytest.mark.slow
def test_a_run_of_another_engine_is_measured_here(runs):
    folder, results = runs
    network = classification_trained.from_run(folder / "unbroken")
    data = sources.load("digits")
    logits, labels = evaluation.split_logits(
        backends.backend.forward(evaluation.logits_model(network.model)),
        data.test.take(range(30)),
        size=8,
        channels=3,
        preprocess=network.preprocessing,
        crop=network.crop,
        views=network.views,
    )
    found = evaluation.measure(logits, labels, network.loss)
    assert found["loss"] == pytest.approx(results["unbroken"]["test"]["loss"], rel=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_only_tensorflow_has_is_refused_in_one_line(engine, tmp_path):
    elsewhere(engine, "refusals", tmp_path)
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert len(answers) == len(REFUSED) + 1
    for options, (status, said) in answers.items():
        assert (status, said.count("\n")) == (2, 1), (options, said)
        assert any(word in said.lower() for word in ("tensorflow", "xla", "replicas")), said


@pytest.mark.parametrize("found", backends.BACKENDS, ids=lambda found: found.name)
def test_every_backend_has_the_whole_interface(found):
    """The same members, and functions with the same parameters."""
    for name in backends.Backend.__annotations__:
        assert hasattr(found, name), name
    for name, member in vars(backends.Backend).items():
        if name.startswith("_"):
            continue
        own = getattr(type(found), name)
        assert isinstance(own, property) == isinstance(member, property), name
        if not isinstance(member, property):
            assert list(inspect.signature(getattr(found, name)).parameters) == [
                *list(inspect.signature(member).parameters)[1:]
            ], name


def test_jax_and_torch_are_no_kind_of_tensorflow():
    tensorflow, *others = backends.BACKENDS
    assert not any(isinstance(other, type(tensorflow)) for other in others)
