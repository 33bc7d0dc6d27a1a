"""Runs an experiment: trains ordinary runs in its folder, then writes the report."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from keras_cnns import measure
from keras_cnns.deep import deep_recursion
from training.classification import trained
from training.classification.config import Config
from training.classification.setup import configure
from training.classification.task import SPLITS, ClassificationTask
from training.data import pipeline, sources
from training.data.dataset import DataSet
from training.engine.devices import Compute
from training.errors import Diverged, usage_errors
from training.experiments import report
from training.experiments.definition import Experiment, ExperimentResults, RunResult, Trial
from training.report.folder import History, replace_when_complete
from training.run_folder.claim import FolderKind, check_folder
from training.run_folder.config import IN_RUN_FOLDER
from training.trainer.run import RunSpec, train_in_folder

RUNS = "runs"
FOLDER = FolderKind(
    "--run",
    "an experiment's",
    marks=(RUNS,),
    allowed=("*.out", "*.log"),  # the output of the command, if a shell writes it there
    inside=(RUNS, "starts", "report.md", "result.json", "*.png"),
)
SAMPLE = 512  # images


@dataclass(frozen=True)
class ExperimentSpec:
    """Data, fraction of the recipes' epochs, number of seeds, folder, command line of an experiment.

    `settings` are fields of all recipes, as in fit.py's --set.
    """

    data: str
    budget: float
    seeds: int
    folder: Path
    command: str
    settings: tuple[str, ...] = ()


def run_experiment(
    experiment: Experiment, order: ExperimentSpec, compute: Compute, say: Callable[[str], None]
) -> Path:
    """Trains what is not trained yet, writes the report, and returns its path.

    Runs are ordinary run folders, `runs/<trial>-<seed>/`. All trials of a seed are trained before the next seed,
    so that an interrupted experiment can be compared with fewer seeds. Trials that differ only in their labels are
    one run.
    """
    with usage_errors():
        check_folder(order.folder, FOLDER)
        data = sources.load(order.data)
        trials = experiment.trials(data)
        _check_settings(order.settings, trials)
        trials = tuple(_asked(t, order) for t in trials)
        configs = {t.label: configure(t.architecture, t.recipe, data, order.data, compute) for t in trials}
    total = order.seeds * len(trials)
    say(f"{experiment.title}: {len(trials)} trials, seeds: {order.seeds}, {total} runs, data: {data.origin}")
    runs: dict[str, list[RunResult]] = {t.label: [] for t in trials}
    for seed in range(order.seeds):
        for trial in trials:
            number = sum(map(len, runs.values())) + 1
            twin = next(t for t in trials if replace(t, label=trial.label) == trial)
            if twin is not trial:
                done = replace(runs[twin.label][-1], label=trial.label)
            else:
                before = runs[trial.after][-1] if trial.after else None
                config = replace(configs[trial.label], seed=seed)
                done = _run(trial, config, before, order.folder, data, compute)
            runs[trial.label].append(done)
            say(f"{number}/{total} {trial.label}, seed {seed}: {report.line(done)}")
    outcome = ExperimentResults(data, trials, runs)
    if experiment.study:
        say("measuring the trained networks")
        outcome = replace(outcome, extra=experiment.study(outcome))
    return report.write(experiment, outcome, order)


def _check_settings(settings: tuple[str, ...], trials: tuple[Trial, ...]):
    """Raises ValueError for a setting of a field in which the trials differ."""
    for path in (setting.partition("=")[0].strip() for setting in settings):
        have = dict.fromkeys(_field(trial.recipe, path) for trial in trials)
        if len(have) > 1:
            values = ", ".join(map(repr, have))
            raise ValueError(f"--set must be of a field that is equal in all trials, got {path} ({values})")


def _field(recipe, path: str):
    for name in path.split("."):
        recipe = getattr(recipe, name, None)
    return recipe


def _asked(trial: Trial, order: ExperimentSpec) -> Trial:
    """The trial with the budget and the settings of the command line."""
    recipe = trial.recipe
    if order.budget != 1:
        recipe = recipe.scaled(max(1, round(recipe.epochs * order.budget)))
    return replace(trial, recipe=recipe.with_settings(*order.settings))


def _start(trial: Trial, config: Config, before: RunResult, folder: Path, data: DataSet) -> Path:
    """The file of a trial's first weights, made once from the network of an earlier trial."""
    path = start_of(trial.label, config.seed, folder)
    network = before.folder / "model.keras"
    if not path.is_file() or path.stat().st_mtime < network.stat().st_mtime:
        before = trained.from_run(before.folder).model
        keras.utils.set_random_seed(config.seed)
        with deep_recursion():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replace_when_complete(path) as temporary:
                trial.start(before, config.build(), images_for(config, data, "train")).save(temporary)
    return path


def images_for(config: Config, data: DataSet, split: str) -> np.ndarray:
    """Some images of a split, preprocessed as for validation."""
    some = getattr(data, split)
    batches = pipeline.eval_batches(
        some.take(np.arange(min(SAMPLE, len(some)))),
        size=config.image_size,
        channels=config.channels,
        batch_size=SAMPLE,
        preprocess=config.preprocessing,
    )
    return np.asarray(next(iter(batches))[0])


def opened(run: RunResult, data: DataSet, split: str) -> tuple[Config, keras.Model, np.ndarray]:
    """Config and network of a finished run, and some images of a split for it."""
    config = Config.read(run.folder)
    return config, trained.from_run(run.folder).model, images_for(config, data, split)


def start_of(trial: str, seed: int, folder: Path) -> Path:
    """The file that `_start` writes."""
    return folder / "starts" / f"{trial}-{seed}.keras"


def _run(
    trial: Trial, config: Config, before: RunResult | None, folder: Path, data: DataSet, compute: Compute
) -> RunResult:
    """Trains a trial, from the run `before` if there is one. The next start continues a run that diverged."""
    own = folder / RUNS / f"{trial.label}-{config.seed}"
    try:
        if before and not before.whole:
            raise Diverged(f"{trial.after}, which it starts from, diverged")
        if before:
            start = os.path.relpath(_start(trial, config, before, folder, data), own)
            config = replace(config, weights=IN_RUN_FOLDER + Path(start).as_posix())
        result = train_in_folder(RunSpec(ClassificationTask, config, data, compute, (compute.why,)), own)[1]
    except Diverged as error:
        result = _guessing(config, data, str(error))
    finally:
        keras.backend.clear_session()  # or the next network finds the graphs of this one in memory
    return RunResult(trial.label, config.seed, own, result, History(own / "history.csv").rows)


def _guessing(config: Config, data: DataSet, why: str) -> dict:
    """The result of a run that diverged: it counts as guessing."""
    sizes, classes = measure(config.build()), len(config.classes)
    guessing = {"loss": math.log(classes), "top1": 1 / classes}
    return {
        "arch": config.architecture.name,
        "params": sizes.trainable_params,
        "macs": sizes.macs,
        "epochs": config.recipe.epochs,
        "precision": config.precision,
        **{name: {**guessing, "n": len(getattr(data, name))} for name in SPLITS},
        "images_per_second": 0.0,
        "weights_sha256": None,
        "diverged": why,
    }
