"""The folder of a pruning: nobody else's is touched, it is of one network only, it may be moved and mended."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import pytest

from keras_cnns import zoo
from training.classification import config as configs
from training.classification.config import Config
from training.classification.setup import configure
from training.data import sources
from training.engine.backends import backend
from training.errors import UsageError
from training.prune import default_out
from training.pruning import folder as pruning_folder
from training.pruning.runner import METHODS
from training.recipes import defaults
from training.run_folder import config as run_folder_config
from training.run_folder.checkpoints import weights_sha256
from training.trainer import trainer

TEST = {"top1": 0.5, "top5": 0.9, "loss": 1.0, "n": 40}


def few(data: str):
    whole = sources.load(data)
    return replace(whole, **{name: getattr(whole, name).take(range(40)) for name in ("train", "val", "test")})


def trained(folder, seed: int):
    """A finished run as far as prune.py sees it; the weights are drawn."""
    keras.utils.set_random_seed(seed)
    compute = backend.choose(None, "float32", "off", False)
    recipe = replace(defaults.QUICK, epochs=1, batch_size=20, warm_up=None)
    config = configure(zoo.architecture("lenet5_modern"), recipe, few("digits"), "digits", compute)
    folder.mkdir(exist_ok=True)
    run_folder_config.write(config, folder)
    model = config.build()
    model.save(folder / "model.keras")
    result = {"finished": True, "test": TEST, "weights_sha256": weights_sha256(model)}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def work(source, out, method="resrep", keep=0.6, epochs=1, seed=0):
    compute = backend.choose(None, "float32", "off", False)
    return METHODS[method](source, out, keep, epochs, seed, few, compute)


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def sha(folder):
    return json.loads((folder / "result.json").read_text())["weights_sha256"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """`run`, and a pruning of it by each method."""
    root = tmp_path_factory.mktemp("pruning")
    trained(root / "run", seed=1)
    for method in METHODS:
        work(root / "run", root / method, method).run(print)
    return root


@pytest.fixture
def own(root, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(root, tmp_path / "own")


@pytest.mark.parametrize("method", METHODS)
def test_what_holds_something_else_is_refused_and_left_as_it_is(root, tmp_path, method):
    (tmp_path / "notes.txt").write_text("mine")
    other = trained(tmp_path / "other", seed=2)
    before = content(tmp_path)
    for out, what in ((other, "config.json, model.keras, result.json"), (tmp_path, "notes.txt, other")):
        with pytest.raises(ValueError, match=f"an empty or this pruning's folder, got .*, which holds {what}"):
            work(root / "run", out, method)
    with pytest.raises(ValueError, match=r"--out must be a folder, got the file"):
        work(root / "run", tmp_path / "notes.txt", method)
    assert content(tmp_path) == before


@pytest.mark.parametrize("method", METHODS)
def test_a_folder_is_of_one_order(root, method):
    assert work(root / "run", root / method, method).done == pruning_folder.record(root / method)
    for change in ({"keep": 0.7}, {"epochs": 2}, {"seed": 3}, {"method": (set(METHODS) - {method}).pop()}):
        with pytest.raises(
            ValueError, match=r"holds another pruning \(\w+: .* here, .* asked\); give another --out"
        ):
            work(root / "run", root / method, **{"method": method, **change})


@pytest.mark.parametrize("method", METHODS)
def test_a_source_that_was_trained_again_is_another(own, method):
    trained(own / "run", seed=2)
    before = content(own)
    for record in (True, False):  # also where pruning.json is gone
        with pytest.raises(ValueError, match="holds a pruning of other weights than --run now has"):
            work(own / "run", own / method, method)
        assert content(own) == before or not record
        (own / method / "pruning.json").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("text", "told"), [("[]", "holds no result"), ('{"finished": true}', "has no test figures")]
)
def test_a_source_with_a_damaged_result_is_told(own, text, told):
    (own / "run" / "result.json").write_text(text)
    with pytest.raises(ValueError, match=rf"result.json.* cannot be .*: .*{told}"):
        work(own / "run", own / "new")
    assert not (own / "new").exists()


def test_what_training_with_compactors_left_is_no_run_to_prune(root, tmp_path):
    with pytest.raises(ValueError, match="lenet5_modern_compactors has compactors already"):
        work(root / "resrep" / "compactors", tmp_path / "new")


def test_by_default_the_result_lies_beside_the_run(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert default_out(tmp_path / "a", "resrep", 0.5) == tmp_path / "a-resrep-0.5"
    for here, run in (("a", "."), ("a/b", "..")):
        monkeypatch.chdir(tmp_path / here)
        assert default_out(Path(run), "resrep", 0.5) == tmp_path / "a-resrep-0.5"


def test_one_process_a_folder(root, tmp_path):
    first, second = (work(root / "run", tmp_path / "out") for _ in range(2))
    with (
        pruning_folder.hold(tmp_path / "out", first.task),
        pytest.raises(UsageError, match=r"another prune.py is at work in .* give another --out"),
    ):
        second.run(print)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_folder_moved_in_the_middle_goes_on_and_ends_alike(root, tmp_path, method, monkeypatch, capsys):
    """Interrupted, moved, and with a damaged start."""

    def interrupt(*_):
        raise KeyboardInterrupt

    pruning = work(root / "run", tmp_path / "out", method)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pruning.run(print)
    (start,) = (tmp_path / "out").rglob("start.keras")
    start.write_bytes(b"half")
    moved = (tmp_path / "out").rename(tmp_path / "moved")
    work(root / "run", moved, method).run(print)
    assert "continuing after epoch 1 of 1" in capsys.readouterr().out
    assert sha(moved) == sha(root / method)
    where = configs.starting_weights(Config.read(moved), moved)
    assert keras.models.load_model(where, compile=False) is not None


@pytest.mark.parametrize("text", ["", '{"before": ', "{}", "[]"])
@pytest.mark.parametrize("method", METHODS)
def test_a_damaged_record_is_made_again(own, method, text):
    before = pruning_folder.record(own / method)
    (own / method / "pruning.json").write_text(text)
    again = work(own / "run", own / method, method)
    assert again.done is None
    if text == "{}":
        again.run(print)
        assert pruning_folder.record(own / method) == {**before, "run": str(own / "run")}


@pytest.mark.slow
def test_a_damaged_network_with_compactors_is_made_again(own, capsys):
    out = own / "resrep"
    whole, network = sha(out), out / "compactors" / "model.keras"
    (out / "pruning.json").unlink()
    network.write_bytes(network.read_bytes()[:2000])
    work(own / "run", out).run(print)
    assert "it is made again from the checkpoints" in capsys.readouterr().out
    assert sha(out) == whole
    assert work(own / "run", out).done


def test_a_damaged_order_is_told(own):
    (own / "resrep" / "order.json").write_text("{")
    with pytest.raises(ValueError, match=r"order.json cannot be used: .*; give another --out"):
        work(own / "run", own / "resrep")
