"""Writes the report of an experiment: the claim, the runs, the figures, the verdict."""

import platform
from dataclasses import fields
from pathlib import Path

import keras

from keras_cnns import __version__
from training.experiments.definition import Experiment, ExperimentResults, RunResult, Trial
from training.experiments.welch import Finding
from training.recipes.recipe import Recipe
from training.report import canvas
from training.report.evaluation import mean_std
from training.report.folder import markdown_table, write_json, write_text

HELD = {True: "held", False: "did not hold", None: "undecided"}
COLUMNS = ("trial", "parameters", "MACs", "epochs", *(f"{split} error %" for split in ("train", "val", "test")))
COLUMNS += ("minutes", "images/s")
TOLD = (*("name", "citation", "epochs", "batch_size", "optimizer", "schedule", "warm_up", "augment", "mix"),
        *("decay", "clip", "image_size"))  # fields of a recipe that stand in every report  # fmt: skip


def minutes(run: RunResult) -> float:
    """Training time of a run."""
    return sum(row["seconds"] for row in run.history) / 60


def line(run: RunResult) -> str:
    """One line about a run."""
    test = run.result["test"]
    if not run.whole:
        return f"diverged, counted as guessing ({run.result['diverged']})"
    return f"test error {100 * (1 - test['top1']):.2f} % (n={test['n']}), {minutes(run):.1f} minutes"


def write(experiment: Experiment, outcome: ExperimentResults, order) -> Path:
    """Writes `report.md`, `result.json` and the pictures."""
    findings = experiment.judge(outcome)
    drawn = experiment.draw(outcome) if canvas.CAN else {}
    for name, figure in drawn.items():
        canvas.save(figure, order.folder / f"{name}.png")
    write_json(order.folder / "result.json", record(experiment, outcome, order, findings))
    path = order.folder / "report.md"
    write_text(path, text(experiment, outcome, order, findings, drawn))
    return path


def verdict(findings: list[Finding]) -> str:
    """The verdict of all findings.

    >>> verdict([Finding("a", True), Finding("b", None)])
    '1 held, 1 undecided'
    """
    counts = {word: sum(f.held is held for f in findings) for held, word in HELD.items()}
    return ", ".join(f"{n} {word}" for word, n in counts.items() if n)


def text(experiment: Experiment, outcome: ExperimentResults, order, findings: list[Finding], drawn: dict) -> str:
    """The report in Markdown."""
    first = next(iter(outcome.runs.values()))[0].result
    rows = [_row(outcome, trial.label) for trial in outcome.trials]
    parts = [
        f"# {experiment.title}",
        f"**Claimed.** {experiment.claim}",
        f"**Here: {verdict(findings)}.**",
        "\n".join(f"- {HELD[f.held]}: {f.text}" for f in findings),
        *(f"![{name}]({name}.png)" for name in drawn),
        "## What was run",
        f"`{order.command}`",
        f"- data: {outcome.data.origin}; {first['train']['n']} images to train on, {first['val']['n']} to "
        f"validate, {first['test']['n']} to test",
        "\n".join(_recipes(outcome.trials)),
        f"- budget {order.budget:g}; seeds 0 to {outcome.seeds - 1} (n = {outcome.seeds}); figures are the mean "
        "+- the standard deviation over seeds; train errors are measured after training, without augmentation",
        f"- keras_cnns {__version__}, Keras {keras.__version__} on {keras.backend.backend()}, "
        f"{first['precision']}, {platform.machine()}; speeds and times depend on the other work of the machine",
        markdown_table(COLUMNS, rows),
    ]
    fallen = [f"{run.label}, seed {run.seed}" for runs in outcome.runs.values() for run in runs if not run.whole]
    if fallen:
        parts.append(f"Diverged, counted as guessing in errors and left out of all else: {'; '.join(fallen)}.")
    if experiment.caveats:
        parts.append(f"**Caveats.** {experiment.caveats}")
    joined = "\n\n".join(parts).replace("\n\n- ", "\n- ")
    return joined.replace("`\n- data", "`\n\n- data") + "\n"


def _row(outcome: ExperimentResults, label: str) -> list[str]:
    result = outcome.runs[label][0].result
    return [
        label,
        f"{result['params']:,}",
        f"{result['macs']:,}",
        str(result["epochs"]),
        *(mean_std(outcome.error(label, split)) for split in ("train", "val", "test")),
        mean_std(outcome.each(label, minutes), 2),
        mean_std(outcome.speeds(label), 0) if outcome.whole(label) else "-",
    ]


def _recipes(trials: tuple[Trial, ...]) -> list[str]:
    """A line for each recipe, with the labels of the trials that have it."""
    labels = {}
    for trial in trials:
        labels.setdefault(trial.recipe, []).append(trial.label)
    names = [field.name for field in fields(Recipe) if field.name not in TOLD]
    differ = [name for name in names if len({getattr(recipe, name) for recipe in labels}) > 1]
    lines = []
    for recipe, its in labels.items():
        who = "all" if len(its) == len(trials) else ", ".join(its)
        parts = (recipe.optimizer, recipe.schedule, recipe.warm_up, *recipe.augment, recipe.mix)
        told = [repr(part) for part in parts if part is not None]
        told += [f"batches of {recipe.batch_size}", f"decay {recipe.decay:g}"]
        told += [f"gradients clipped at {recipe.clip:g}"] if recipe.clip else []
        told += [f"{recipe.image_size} pixels"] if recipe.image_size else []
        told += [f"{name} {getattr(recipe, name)!r}" for name in differ]
        lines.append(f"- {who}: `{recipe.name}` ({recipe.citation}): {', '.join(told)}")
    return lines


def record(experiment: Experiment, outcome: ExperimentResults, order, findings: list[Finding]) -> dict:
    """The contents of `result.json`."""
    return {
        "experiment": experiment.name,
        "command": order.command,
        "data": order.data,
        "budget": order.budget,
        "seeds": outcome.seeds,
        "findings": [{"text": f.text, "held": f.held} for f in findings],
        "trials": {
            label: {
                **{key: runs[0].result[key] for key in ("arch", "params", "macs", "epochs")},
                **{f"{split}_error": outcome.error(label, split) for split in ("train", "val", "test")},
                "n_test": runs[0].result["test"]["n"],
                "minutes": outcome.each(label, minutes),
                "images_per_second": outcome.each(label, lambda run: run.result["images_per_second"]),
                "weights_sha256": [run.result["weights_sha256"] for run in runs],
                "diverged": [run.result.get("diverged") for run in runs],
            }
            for label, runs in outcome.runs.items()
        },
        "extra": outcome.extra,
    }
