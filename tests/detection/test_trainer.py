"""What the trainer gives to detection: plateau, best epoch, averages, advice for memory, XLA, dry run."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from small_detectors import SIDE, SMALL, scenes

from training.data import folder as image_folder
from training.detection import recipe
from training.detection.config import DetectionConfig
from training.detection.pipeline import ResizeRule
from training.detection.task import DetectionStep, DetectionTask
from training.engine.devices import Compute
from training.errors import RunError
from training.recipes.schedules import Plateau
from training.report.folder import History
from training.run_folder import checkpoints
from training.trainer.run import RunSpec, fit_command, train_in_folder

ALONE = Compute("CPU", 1, "float32", False, None, "")
PLAN = replace(recipe.QUICK.scaled(1), batch_size=4, resize=ResizeRule(SIDE, SIDE), measure_every=1, warm_up=None)


def spec(compute=ALONE, **changes) -> RunSpec:
    data = scenes()
    plan = replace(PLAN, **changes)
    config = DetectionConfig(SMALL, plan, "squares", data.classes, 0, 1, "float32", "off")
    return RunSpec(DetectionTask, config, data, compute)


def test_plateau_early_stop_best_epoch_and_averages(tmp_path, monkeypatch):
    """AP50 never rises: the rate falls after an epoch, the run ends after two, and the first epoch is kept."""
    measure = DetectionTask.figures
    same = {"ap50": 0.5, "ap": 0.25}
    monkeypatch.setattr(DetectionTask, "figures", lambda self, found, split: measure(self, found, split) | same)
    plan = {"epochs": 6, "schedule": Plateau(0.1, 1), "keep": "best", "patience": 2, "ema": 0.5}
    folder, result, _ = train_in_folder(spec(**plan), tmp_path / "run")
    rows, log = History(folder / "history.csv", DetectionTask.columns).rows, (folder / "log.txt").read_text()
    assert [row["rate"] for row in rows] == pytest.approx([0.02, 0.02, 0.002])
    assert "stopped early: val_ap50 has not risen for 2 epochs" in log
    assert "expected duration: about" in log
    (best,) = (folder / "checkpoints").glob("best_*")
    assert json.loads((best / "state.json").read_text())["place"]["epoch"] == 1
    arrays = np.load(best / checkpoints.TENSORS)
    averages = [arrays[n] for n in arrays.files if n.startswith("optimizer/") and "average" in n]
    saved = DetectionConfig.read(folder).build().inference
    saved.load_weights(folder / "model.keras")
    assert result["weights_sha256"] == checkpoints.weights_sha256(saved)
    for variable, average in zip(saved.trainable_variables, averages, strict=True):
        np.testing.assert_array_equal(variable.numpy(), average)


def test_out_of_memory_names_a_batch_size_and_reads_no_image_again(tmp_path, monkeypatch):
    def full(self, *args, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(DetectionStep, "fit", full)
    monkeypatch.setattr(image_folder, "unreadable", lambda split: pytest.fail("read all images again"))
    with pytest.raises(RunError, match="out of memory with batches of 4 on 1 devices; --batch-size 2 fits"):
        train_in_folder(spec(), tmp_path / "run")


def arguments(folder, **changes):
    options = {"run": folder, "dry_run": False, "find_lr": False, "save_every": (None, 600.0)}
    return SimpleNamespace(**options | changes)


def test_xla_is_tried_before_a_dry_run(tmp_path, capsys):
    compiled = replace(ALONE, xla=True)
    fit_command(arguments(tmp_path / "run", dry_run=True), spec(compiled), str)
    out = capsys.readouterr().out
    assert "XLA: on for the step (3 compiled steps worked)" in out
    assert out.endswith("dry run: one step of everything worked; nothing was kept\n")
    assert not (tmp_path / "run").exists()


def test_the_learning_rate_finder(tmp_path, capsys):
    fit_command(arguments(tmp_path / "run", find_lr=True), spec(), str)
    assert "suggested rate: " in capsys.readouterr().out
    assert {"rates.png", "rates.csv"} <= {path.name for path in (tmp_path / "run").iterdir()}
