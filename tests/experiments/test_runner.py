"""The engine of experiments: ordinary runs, a report, and nothing trained twice."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from keras_cnns import zoo
from training.classification import trained
from training.engine.backends import backend
from training.errors import UsageError
from training.experiments import plots
from training.experiments.definition import Experiment, Trial
from training.experiments.runner import ExperimentSpec, run_experiment
from training.experiments.welch import lower
from training.recipes import defaults

SMALL = replace(defaults.QUICK, epochs=4, batch_size=256, warm_up=None)


def start(before, untrained, images):
    """The other trial's network, turned into a start."""
    assert images.shape[1:] == (32, 32, 1)
    untrained.set_weights(before.get_weights())
    return untrained


def trials(data):
    lenet = zoo.architecture("lenet5_modern")
    return (Trial("first", lenet, SMALL), Trial("second", lenet, SMALL, after="first", start=start))


EXPERIMENT = Experiment(
    "tiny",
    "A tiny one",
    "Nothing is claimed.",
    trials,
    judge=lambda o: [lower("second below first", o.error("second", "train"), o.error("first", "train"))],
    draw=lambda o: {"curves": plots.curves(o, {"both": list(o.runs)}, "tiny")},
    study=lambda o: {"labels": [len(o.runs), o.seeds]},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tiny")


def performed(folder, seeds, said):
    compute = backend.choose(None, "float32", "off", False)
    return run_experiment(
        EXPERIMENT, ExperimentSpec("digits", 0.25, seeds, folder, "python tiny"), compute, said.append
    )


def test_runs_are_ordinary_and_reported(folder, monkeypatch):
    said = []
    report = performed(folder, 1, said)
    assert "second below first" in report.read_text()
    result = json.loads((folder / "result.json").read_text())
    assert result["findings"][0]["held"] is None, "one seed decides nothing"
    assert result["extra"] == {"labels": [2, 1]}
    assert {p.name for p in (folder / "runs").iterdir()} == {"first-0", "second-0"}
    assert trained.from_run(folder / "runs" / "second-0").model.name == "lenet5_modern"
    assert json.loads((folder / "runs" / "second-0" / "config.json").read_text())["recipe"]["epochs"] == 1
    first, second = (result["trials"][label]["train_error"][0] for label in ("first", "second"))
    assert second < first, "it went on from the first one's weights"
    assert any(line.startswith("2/2 second, seed 0: test error") for line in said)
    monkeypatch.setattr("training.trainer.run.train", None)  # nothing is trained twice
    (folder / "report.md").unlink()
    assert performed(folder.rename(folder.with_name("moved")), 1, []).is_file()


def test_settings_change_every_trial_and_bad_ones_are_refused(tmp_path):
    compute = backend.choose(None, "float32", "off", False)
    said = []
    order = ExperimentSpec("digits", 0.25, 1, tmp_path, "python tiny", ("batch_size=300", "optimizer.rate=0.02"))
    run_experiment(EXPERIMENT, order, compute, said.append)
    for label in ("first-0", "second-0"):
        recipe = json.loads((tmp_path / "runs" / label / "config.json").read_text())["recipe"]
        assert (recipe["epochs"], recipe["batch_size"], recipe["optimizer"]["rate"]) == (1, 300, 0.02)
    with pytest.raises(UsageError, match="nonsense"):
        run_experiment(
            EXPERIMENT, replace(order, folder=tmp_path / "b", settings=("nonsense=1",)), compute, said.append
        )
    assert not (tmp_path / "b").exists()

    def rates(data):
        first, second = trials(data)
        return (first, replace(second, recipe=replace(SMALL, optimizer=replace(SMALL.optimizer, rate=0.3))))

    order = replace(order, folder=tmp_path / "b", settings=("optimizer.rate=0.02",))
    with pytest.raises(UsageError, match=r"equal in all trials, got optimizer\.rate \(0\.05, 0\.3\)"):
        run_experiment(replace(EXPERIMENT, trials=rates), order, compute, said.append)
    (tmp_path / "mine" / "runs").mkdir(parents=True)
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"experiment's folder, got .*, which holds thesis\.tex"):
        run_experiment(EXPERIMENT, replace(order, folder=tmp_path / "mine", settings=()), compute, said.append)


@pytest.mark.slow
def test_a_run_that_diverges_counts_as_guessing_and_the_others_go_on(tmp_path):
    def wild(data):
        first, second = trials(data)
        rate = replace(SMALL, optimizer=replace(SMALL.optimizer, rate=1e12))
        return (Trial("first", first.architecture, rate), second, Trial("third", first.architecture, SMALL))

    def study(outcome):
        return {"whole": {label: len(outcome.whole(label)) for label in outcome.runs}}

    compute = backend.choose(None, "float32", "off", False)
    said = []
    order = ExperimentSpec("digits", 0.25, 1, tmp_path, "python tiny")
    for _ in range(2):  # begun anew and repeated
        report = run_experiment(
            replace(EXPERIMENT, trials=wild, study=study), order, compute, said.append
        ).read_text()
    lines = [line for line in said if "/3 " in line]
    assert len(lines) == 6
    assert all("diverged, counted as guessing" in line for line in (*lines[:2], *lines[3:5]))
    assert "which it starts from, diverged" in lines[1]
    assert "test error" in lines[2]
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["extra"] == {"whole": {"first": 0, "second": 0, "third": 1}}
    assert record["trials"]["first"]["test_error"] == [90.0]
    assert "rate usually helps" in record["trials"]["first"]["diverged"][0]
    assert record["trials"]["third"]["diverged"] == [None]
    assert "left out of all else: first, seed 0; second, seed 0." in report


@pytest.mark.slow
def test_trials_that_differ_in_their_labels_alone_are_one_run(tmp_path):
    def twice(data):
        first = trials(data)[0]
        slow = replace(SMALL, optimizer=replace(SMALL.optimizer, rate=0.001))
        return (first, replace(first, label="again"), replace(first, label="slow", recipe=slow))

    compute = backend.choose(None, "float32", "off", False)
    run_experiment(replace(EXPERIMENT, trials=twice, study=None, judge=lambda o: []),
            ExperimentSpec("digits", 0.25, 1, tmp_path, "python tiny"), compute, [].append)  # fmt: skip
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"first-0", "slow-0"}
    found = json.loads((tmp_path / "result.json").read_text())["trials"]
    assert found["again"] == found["first"] != found["slow"]
