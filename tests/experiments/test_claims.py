"""What each experiment trains, and what it says of figures that agree with the claim, and of others."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import pixels

from keras_cnns import values
from training.classification.config import PARTS
from training.data import sources
from training.data.dataset import DataSet
from training.experiments import EXPERIMENTS, experiment, relu, width_depth_cardinality
from training.experiments import plots as drawings
from training.experiments import report as experiments_report
from training.experiments.definition import ExperimentResults, RunResult, Trial, epochs_to
from training.experiments.welch import lower, no_worse
from training.recipes.defaults import QUICK


def marked(name, *more):
    """These build and measure many networks before they know what to train; `more` take their time, too."""
    heavy = name in ("family", "width-depth-cardinality", *more)
    return pytest.param(name, marks=[pytest.mark.slow] if heavy else [])


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return sources.load("digits")


def made(experiment, data, error) -> ExperimentResults:
    """An outcome whose errors (train, val, test, in per cent) are a function of label and seed."""
    trials = tuple(Trial(label, SimpleNamespace(name=label), QUICK) for label in (labels_of(experiment, data)))
    runs = {t.label: [done(t.label, seed, *error(t.label, seed)) for seed in range(3)] for t in trials}
    return ExperimentResults(data, trials, runs, EXTRA.get(experiment.name, {}))


def labels_of(experiment, data):
    return [t.label for t in TRIALS.setdefault(experiment.name, experiment.trials(data))]


TRIALS: dict[str, tuple] = {}
SIGNS = {"negative": [0.0, 0.0], "zero": [0.5, 0.5], "positive": [0.5, 0.5]}
SIGNED = {"negative": [0.3, 0.5], "zero": [0.0, 0.0], "positive": [0.7, 0.5]}
ORDERS = ("a-original", "b-norm-after-addition", "c-relu-before-addition", "d-relu-preactivation")
EXTRA = {
    "by-construction": {"largest_difference_of_logits": {"plain": [1e-6], "resnet": [1e-7]}},
    "preactivation": {**dict.fromkeys(ORDERS, SIGNS), "e-full-preactivation": SIGNED},
    "family": {"hog": {"test_error": 8.0}},
    "batch-norm": {"norms-0.01, after training": {"mean": [0.1, 0.2], "deviation": [1.0, 1.1]}},
    "width-depth-cardinality": {"validation_error": 5.0, "seconds": {}},
}


def done(label, seed, train, val, test, speed=100.0) -> RunResult:
    splits = {s: {"loss": e / 50, "top1": 1 - e / 100, "top5": 1.0, "n": 360} for s, e in
              (("train", train), ("val", val), ("test", test))}  # fmt: skip
    result = {"arch": label, "params": 10, "macs": 20, "epochs": 3, "precision": "float32", "weights_sha256": "0"}
    history = [
        {"epoch": e, "top1": 1 - train / 100 - 0.3 / e, "val_top1": 1 - val / 100 - 0.5 / e**2, "seconds": 2.0}
        for e in (1, 2, 3, 4)
    ]
    return RunResult(label, seed, Path("."), {**result, **splits, "images_per_second": speed}, history)


GOOD = {  # test error by the beginning of a label, the longest that fits; train error is half, or the first of two
    "degradation": {
        "plain20": 8,
        "plain32": 9,
        "plain44": 10,
        "plain56": 12,
        "resnet20": 7,
        "resnet56": 4,
        "resnet": 5,
    },
    "by-construction": {
        "plain20": 8,
        "plain56": 12,
        "plain56-built": 7,
        "resnet20": 7,
        "resnet56": 6,
        "resnet56-built": 5,
    },
    "batch-norm": {"norms": 2, "bare": 20, "bare-0.1": (85, 88), "dropout": 10, "bare-raw": 40},
    "preactivation": {"a": (1, 6.6), "b": 8.2, "c": 7.8, "d": 6.7, "e": (2, 5)},
    "family": {"": 3, "resne": 2.5, "lenet": 6, "alexnet": 7, "nin": 6.5, "vgg": 5, "googlenet": 5.5},
}


@pytest.mark.parametrize("name", [marked(name) for name in GOOD])
def test_the_verdict_follows_the_figures(name, digits, tmp_path):
    claim = EXPERIMENTS[name]

    def good(label, seed):
        error = GOOD[name][max((k for k in GOOD[name] if label.startswith(k)), key=len)]
        train, test = error if isinstance(error, tuple) else (error / 2, error)
        return train + 0.01 * seed, test + 0.01 * seed, test + 0.01 * seed

    held = claim.judge(made(claim, digits, good))
    assert all(f.held for f in held), [f for f in held if not f.held]

    def bad(label, seed):
        train, val, test = good(label, seed)
        return 99 - train, 99 - val, 99 - test

    turned = [f.held for f in claim.judge(made(claim, digits, bad))]
    assert sum(held is not True for held in turned) >= len(turned) / 2
    noisy = claim.judge(made(claim, digits, lambda label, seed: (5 + 3 * seed, 5, 5 + 3 * seed)))
    assert any(f.held is None for f in noisy) or name == "family"
    apart = claim.judge(made(claim, digits, lambda label, seed: (*3 * [len(label) + 20 * seed],)))
    assert not [f for f in apart if f.held is not None and " against " in f.text and "+-" in f.text]


@pytest.mark.parametrize("name", [marked(name) for name in EXPERIMENTS])
def test_what_is_trained_goes_to_json_and_back(name, digits):
    claim = experiment(name)
    trials = TRIALS.setdefault(name, claim.trials(digits))
    assert len({t.label for t in trials}) == len(trials) >= 2
    for trial in trials:
        for value in (trial.architecture, trial.recipe):
            assert values.from_json(values.to_json(value), PARTS) == value
        assert trial.after is None or trial.after in {t.label for t in trials}
    assert claim.claim
    assert claim.name == name


@pytest.mark.parametrize("name", [marked(name, "by-construction", "preactivation") for name in EXPERIMENTS])
def test_every_drawing_and_report(name, digits, tmp_path):
    claim = experiment(name)
    outcome = made(claim, digits, lambda label, seed: (1 + seed, 2 + seed, 3 + seed))
    if name == "width-depth-cardinality":
        outcome.extra["seconds"] |= {label: [3.0, 4.0, 3.5] for label in outcome.runs}
    order = SimpleNamespace(folder=tmp_path, command="python x", data="digits", budget=0.5)
    report = experiments_report.write(claim, outcome, order).read_text()
    drawn = {p.stem for p in tmp_path.glob("*.png")}
    assert all(pixels(f).std() > 5 for f in claim.draw(outcome).values())
    assert drawn
    assert all(f"![{n}]({n}.png)" in report for n in drawn)
    assert claim.claim in report
    assert "n = 3" in report
    assert "python x" in report


def test_runs_of_one_epoch_are_seen_where_a_curve_would_have_no_length(digits):
    outcome = made(experiment("degradation"), digits, lambda label, seed: (1 + seed, 2 + seed, 3 + seed))
    axis = drawings.curves(outcome, {"all": list(outcome.runs)}, "Error").axes[0]
    assert {len(line.get_xdata()) for line in axis.lines} == {4}
    for run in [run for runs in outcome.runs.values() for run in runs]:
        del run.history[1:]
    figure = drawings.curves(outcome, {"all": list(outcome.runs)}, "Error")
    bars = figure.axes[0].containers
    assert len(bars) == 2 * len(outcome.runs), "training and validation of each"
    places = [bar.lines[0].get_xdata()[0] for bar in bars]
    assert len(set(places)) == len(places)
    assert "training hollow" in figure.get_suptitle()


def test_seconds_are_counted_to_what_every_run_reaches():
    def run(speed, *errors):
        history = [{"epoch": e, "val_top1": 1 - error / 100, "seconds": 99.0} for e, error in enumerate(errors, 1)]
        return SimpleNamespace(history=history, result={"train": {"n": 200}, "images_per_second": speed})

    runs = {
        "slow": [run(100, 40, 20, 9), run(100, 30, 9, 9)],
        "fast": [run(100, 9, 5), run(200, 14, 4)],
        "none": [],
    }
    found = width_depth_cardinality.study(SimpleNamespace(runs=runs, whole=runs.get))
    assert found["validation_error"] == pytest.approx(9)
    assert found["seconds"] == {"slow": pytest.approx([6, 4]), "fast": pytest.approx([2, 1.5]), "none": []}


@pytest.mark.parametrize("better", [True, False])
def test_width_and_paths_are_judged_by_error_speed_and_time(digits, better):
    def outcome(seconds):
        figures = {
            "wide": (5, 300),
            "paths": (3, 100),
            "bottlenecks": (6, 200),
            "deep": (7, 100),
            "middle": (6, 200),
        }
        if not better:
            figures |= {"wide": (9, 50), "paths": (8, 100)}
        labels = {f"{shape}-equal-{what}": shape for shape in figures for what in ("params", "macs")}
        runs = {
            label: [
                replace(
                    done(label, s, 1, 1, figures[shape][0] + 0.01 * s, figures[shape][1] + s),
                    folder=Path(label if shape == "wide" else shape) / str(s),
                )
                for s in range(3)
            ]
            for label, shape in labels.items()
        }
        times = {label: [seconds[shape] + 0.1 * s for s in range(3)] for label, shape in labels.items()}
        return ExperimentResults(digits, (), runs, {"validation_error": 5.0, "seconds": times})

    seconds = {"wide": 2 if better else 20, "deep": 10, "paths": 5, "bottlenecks": 5, "middle": 5}
    found = width_depth_cardinality.judge(outcome(seconds))
    assert len(found) == 6 + 4, "at equal operations only what the other wide network changes"
    assert {f.held for f in found if "paths below wide" not in f.text} == {better}
    assert not [f for f in found if f.text.startswith("equal MACs: test error, paths below bottlenecks")]


def raced(digits, epochs: dict[str, float], lost=()) -> ExperimentResults:
    """An outcome of `relu` whose networks err the less the more epochs passed, by kind, best at a rate of 0.1."""

    def run(label, seed):
        kind, rate = label.split("-")
        pace = epochs[kind] * (1 if rate == "0.1" else 2) + 0.01 * seed
        history = [{"epoch": e, "top1": 1 - 1 / (1 + 3 * e / pace), "val_top1": 0.9, "seconds": 1.0}
                   for e in range(1, 200)]  # fmt: skip
        good = done(label, seed, 1, 1, 1)
        return replace(good, history=history, result=good.result | ({"diverged": "nan"} if label in lost else {}))

    labels = [f"{kind}-{rate:g}" for kind in relu.KINDS for rate in relu.RATES]
    trials = tuple(Trial(label, SimpleNamespace(name=label), QUICK) for label in labels)
    return ExperimentResults(digits, trials, {label: [run(label, seed) for seed in range(3)] for label in labels})


def test_relu_is_judged_by_each_activation_at_its_fastest_rate(digits):
    assert [f.held for f in relu.judge(raced(digits, {"relu": 2, "tanh": 9}))] == [True] * 4
    near = relu.judge(raced(digits, {"relu": 4, "tanh": 9}))
    assert [f.held for f in near] == [True, True, True, False]
    assert "2.2 times" in near[-1].text
    assert "edge" not in near[-1].text
    assert [f.held for f in relu.judge(raced(digits, {"relu": 9, "tanh": 2}))] == [False] * 4
    lost = relu.judge(raced(digits, {"relu": 2, "tanh": 9}, lost=[f"tanh-{rate:g}" for rate in relu.RATES]))
    assert [f.held for f in lost] == [None] * 4


@pytest.mark.parametrize("name", [marked(name, "by-construction", "preactivation") for name in EXPERIMENTS])
def test_a_trial_that_diverged_is_reported_and_breaks_nothing(name, digits, tmp_path):
    claim = experiment(name)
    outcome = made(claim, digits, lambda label, seed: (1 + seed, 2 + seed, 3 + seed))
    fallen = next(iter(outcome.runs))
    for run in outcome.runs[fallen]:
        run.result["diverged"] = "the loss is nan"
        del run.history[1:]
    extra = {key: value for key, value in outcome.extra.items() if not key.startswith(fallen)}
    if name == "width-depth-cardinality":
        extra["seconds"] = {label: [3.0, 4.0, 3.5] if label != fallen else [] for label in outcome.runs}
    if name == "by-construction":
        extra = {"largest_difference_of_logits": {"plain": [], "resnet": [1e-7]}}
    order = SimpleNamespace(folder=tmp_path, command="python x", data="digits", budget=0.5)
    report = experiments_report.write(claim, replace(outcome, extra=extra), order).read_text()
    assert f"left out of all else: {fallen}, seed 0; {fallen}, seed 1" in report
    assert report.count("nan") == 0


def test_epochs_to_a_goal():
    history = [{"epoch": i, "top1": t, "val_top1": t} for i, t in enumerate((0.2, 0.5, 0.9), 1)]
    run = RunResult("x", 0, Path("."), {}, history)
    assert relu.epochs(run, 30) == pytest.approx(2.5)
    assert relu.epochs(run, 5) == float("inf")
    assert relu.epochs(run, 90) == 1.0
    assert relu.epochs(replace(run, result={"diverged": "nan"}), 30) == float("inf")
    assert epochs_to(history, 30) == relu.epochs(run, 30)


def test_nothing_is_decided_within_the_spread():
    assert lower("x", [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]).held is None
    assert lower("x", [1.0, 1.1, 0.9], [2.0, 2.1, 1.9]).held is True
    assert lower("x", [2.0, 2.1, 1.9], [1.0, 1.1, 0.9]).held is False
    assert lower("x", [1.0], [9.0]).held is None
    assert lower("x", [60.0, 75.0, 80.0], [90.0, 90.0, 90.0]).held is None, (
        "Welch's: a spread of nothing is not shared"
    )
    assert lower("x", [0.8, 0.8], [1.1, 1.1]).held is None, "no spread at all says nothing of chance"
    assert lower("x", [], [1.0, 1.1]).held is None


def test_equal_is_within_a_margin():
    assert no_worse("x", [1.0, 1.1, 1.2], [1.0, 1.1, 1.2]).held is True
    assert no_worse("x", [1.3, 1.4, 1.5], [1.0, 1.1, 1.2]).held is True, "above, by less than a point"
    assert no_worse("x", [3.0, 3.1, 3.2], [1.0, 1.1, 1.2]).held is False
    assert no_worse("x", [2.0, 2.1, 2.2], [1.0, 1.1, 1.2]).held is None
    assert no_worse("x", [1.0], [1.0]).held is None


def test_unknown():
    with pytest.raises(ValueError, match="no experiment 'degradatoin'; did you mean 'degradation'"):
        experiment("degradatoin")


def test_hog_sees_directions():
    from training.experiments.family import hog

    ramp = np.arange(28.0)
    across, down = np.broadcast_to(ramp, (28, 28)), np.broadcast_to(ramp[:, None], (28, 28))
    a, b = (hog(image[None]).reshape(36, 4, 9) for image in (across, down))
    assert set(a.argmax(-1).ravel()) <= {0, 8}, "a gradient to the right: the bins about 0 degrees"
    assert set(b.argmax(-1).ravel()) == {4}, "a gradient downwards: the bin about 90 degrees"
    np.testing.assert_allclose(hog(3 * across[None] + 9), hog(across[None]), atol=1e-3)
    assert np.all(hog(np.ones((1, 28, 28))) == 0)
