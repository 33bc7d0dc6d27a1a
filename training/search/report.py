"""Writes the results of a search: `trials.csv`, `best/`, two pictures and `report.md`."""

import math
import shutil
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from keras_cnns.spaces import LogUniform
from training.report import canvas
from training.report.evaluation import spread
from training.report.folder import markdown_table, replace_folder, write_csv, write_text
from training.run_folder.lock import FILES
from training.search import plots
from training.search.config import SearchConfig
from training.search.live_table import progress
from training.search.objective import front
from training.search.space import CHANCE
from training.search.trials import Trial, ranked

BEST, TABLE, REPORT = "best", "trials.csv", "report.md"
LISTED = 10


def write_table(root: Path, search: SearchConfig, trials: list[Trial]) -> None:
    """`trials.csv`: one row a trial, whole or not at all."""
    on_front = {t.number for t in frontier(search, trials)}
    names = search.space.names
    head = ["trial", "status", *names, "epochs", "params", "macs", "latency_ms"]
    rows = [[*head, "val_top1", "val_loss", "test_top1", "score", "front", "seconds", "why"]]
    for t in trials:
        figures = (t.top1, t.result["val"]["loss"], t.result["test"]["top1"], t.score) if t.result else ("",) * 4
        costs = (t.cost["params"], t.cost["macs"], t.cost.get("latency_ms", ""))
        seconds = round(progress(t).get("seconds", 0.0), 1)
        row = [t.folder.name, t.status, *(t.chosen[n] for n in names), t.recipe.epochs, *costs, *figures]
        rows.append([*row, int(t.number in on_front), seconds, t.why])
    write_csv(root / TABLE, rows)


def frontier(search: SearchConfig, trials: list[Trial]) -> list[Trial]:
    """Finished trials that no other beats in both validation top-1 and cost, cheapest first."""
    done = [t for t in trials if t.status == "done"]
    return [done[i] for i in front((t.top1, t.cost[search.objective.cost]) for t in done)]


def write_best(root: Path, trials: list[Trial]) -> Path | None:
    """Copies the folder of the best run to `best/`, whole or not at all, when the best has changed."""
    best = next((t for t in ranked(trials) if t.has_weights()), None)
    folder, new = root / BEST, root / ".best"
    if best is None:
        return folder if folder.is_dir() else None
    mark = folder / "trial.json"
    same = mark.is_file() and mark.read_bytes() == (best.folder / "trial.json").read_bytes()
    if same and (folder / "model.keras").is_file():
        return folder
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(best.folder, new, ignore=shutil.ignore_patterns("step_*", "best_*", *FILES))
    replace_folder(new, folder, root / ".best.old")
    return folder


def again(root: Path) -> str:
    """The command that trains the best again."""
    return f"python training/fit.py --like {root / BEST} --run {root / 'again'}"


def write_all(root: Path, search: SearchConfig, trials: list[Trial], command: str) -> None:
    """Writes the pictures and the report of the trials so far."""
    done = [t for t in trials if t.status == "done"]
    if done and canvas.CAN:
        base = search.space.base
        title = f"{base.architecture.name} on {base.data}: {len(done)} trials"
        figure = plots.pareto(done, frontier(search, trials), search.objective.cost, title)
        canvas.save(figure, root / "pareto.png")
        canvas.save(plots.parallel(done, search.space.names, title), root / "parallel.png")
    write_text(root / REPORT, text(root, search, trials, command))


def text(root: Path, search: SearchConfig, trials: list[Trial], command: str) -> str:
    """`report.md`."""
    base = search.space.base
    best, failed = ranked(trials), [t for t in trials if t.status == "failed"]
    epochs = sorted({t.recipe.epochs for t in trials})
    span = " to ".join(map(str, [*epochs[:1], *epochs[1:][-1:]])) or "no"
    lines = [
        *(f"# {base.architecture.name} on {base.data}: a search", "", f"`{command}`", ""),
        f"{len(best)} trials finished, {len(failed)} failed, {len(trials) - len(best) - len(failed)} open; tuner "
        f"{search.tuner}, recipe {base.recipe.name}, {span} epochs, limits: {search.limits}.",
    ]
    if any("latency_ms" in t.cost for t in trials):
        lines += [
            "Latencies were measured once each, while other trials were trained: the first ones, measured before,",
            "seem faster. Measure the front again on an idle machine.",
        ]
    if search.space.constant != "none":
        lines += [f"The width is fitted so that every network has about the {search.space.constant} of the base."]
    if best:
        lines += _results(root, search, best)
    if failed:
        lines += ["", "## Failed", "", *(f"- {t.folder.name}: {t.why}" for t in failed)]
    return "\n".join([*lines, ""])


def _results(root: Path, search: SearchConfig, best: list[Trial]) -> list[str]:
    """The lines about finished trials."""
    names, cost = search.space.names, search.objective.cost
    n, test_n = best[0].result["val"]["n"], best[0].result["test"]["n"]
    error = math.sqrt(max(best[0].top1 * (1 - best[0].top1), 1e-9) / n)
    head = ["trial", *names, "parameters", "MACs", "val top-1", "test top-1"]
    varied = [t.name for t in search.space.terms if not isinstance(t.domain, LogUniform) and t.name not in CHANCE]
    lines = [
        f"Chosen on the validation split (n={n}): one standard error of the best is {error:.4f}, and the best of",
        f"many is too optimistic. The test split (n={test_n}) chose nothing.",
        *("", "## The best", "", markdown_table(head, [_row(t, names) for t in best[:LISTED]])),
        *("", f"Train the best again: `{again(root)}`"),
        *("", f"## The front (validation top-1 against {cost})", "", "![front](pareto.png)", ""),
        markdown_table(head, [_row(t, names) for t in frontier(search, best)]),
        *("", "## Means by value", "", "Means over all other choices; sd is between trials.", ""),
        _effects(varied, best),
    ]
    if any(name in CHANCE for name in names):
        lines += [
            *("", "## Means over seeds and splits", "", _means([n for n in names if n not in CHANCE], best), ""),
            "sd is between repetitions; a difference is test top-1 against the first row at the same seed and",
            "split, with its standard error. Splits share images, so the errors are rather too small.",
        ]
    return [*lines, "", "![parallel coordinates](parallel.png)"]


def _row(t: Trial, names: list[str]) -> list[str]:
    figures = [f"{t.cost['params']:,}", f"{t.cost['macs']:,}", f"{t.top1:.4f}", f"{t.result['test']['top1']:.4f}"]
    return [t.folder.name, *(t.chosen[name] for name in names), *figures]


def _mean_sd(values: list[float]) -> list[str]:
    return [f"{fmean(values):.4f}", f"{spread(values):.4f}" if len(values) > 1 else ""]


def _effects(names: list[str], done: list[Trial]) -> str:
    rows = []
    for name in names:
        for value in plots.ordered(t.chosen[name] for t in done):
            own = [t.top1 for t in done if t.chosen[name] == value]
            rows.append([name, value, str(len(own)), *_mean_sd(own)])
    return markdown_table(["dimension", "value", "n", "mean val top-1", "sd"], rows)


def _means(names: list[str], done: list[Trial]) -> str:
    """Candidates with their cost, the means of their repetitions, and the difference from the first candidate.

    Differences are between trials of the same seed and split, which have the same images.
    """
    groups = defaultdict(dict)
    for t in done:
        groups[tuple(t.chosen[name] for name in names)][tuple(t.chosen.get(name) for name in CHANCE)] = t
    rows, first = [], None
    for chosen, own in sorted(groups.items(), key=lambda item: _order(item[0])):
        first = own if first is None else first
        test = {repetition: t.result["test"]["top1"] for repetition, t in own.items()}
        cost = next(iter(own.values())).cost
        apart = [top1 - first[r].result["test"]["top1"] for r, top1 in test.items() if r in first]
        figures = [str(len(own)), *_mean_sd([t.top1 for t in own.values()]), *_mean_sd(list(test.values()))]
        difference = ""
        if own is not first and len(apart) > 1:  # with its standard error
            difference = f"{fmean(apart):+.4f} +- {spread(apart) / math.sqrt(len(apart)):.4f} (n={len(apart)})"
        rows.append([*chosen, f"{cost['params']:,}", f"{cost['macs']:,}", *figures, difference])
    head = ["parameters", "MACs", "n", "mean val top-1", "sd", "mean test top-1", "sd", "difference in pairs"]
    return markdown_table([*names, *head], rows)


def _order(chosen: tuple[str, ...]):
    return [(0, float(c), "") if c.replace(".", "", 1).isdigit() else (1, 0.0, c) for c in chosen]
