"""What a search shows and leaves, from made-up results."""

import csv
import doctest
import io
import json
import re
import shutil
from dataclasses import replace

import pytest
from fakes import Formula, Session, past, search
from support import pixels

from training.report.folder import Log
from training.search import objective, plots, report
from training.search.config import NAME, read, write
from training.search.coordinator import Watcher, conclude, find_folder, score
from training.search.live_table import Table
from training.search.plots import ordered, parallel, pareto
from training.search.trials import begun


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Six choices, twice each; one has failed."""
    root, plan = tmp_path_factory.mktemp("search"), search("depth=1/2/3,width=8/16,seed=0/1")
    write(plan, root)
    session = Session(root, plan, 12)
    for number in range(12):
        record = session.ask()
        trial = session.end(record, "the loss is nan | at step 3" if number == 5 else "")
        (trial.folder / "model.keras").write_text("weights")
        (trial.folder / "checkpoints" / "step_00000019").mkdir(parents=True)
    trials = past(root, plan)
    score(plan, trials)
    return root, plan, trials


CONTROL = re.compile(r"\x1b\[[?0-9]*[A-Za-z]")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_table_of_trials(ended, tmp_path):
    root, plan, trials = ended
    report.write_table(root, plan, trials)
    with open(root / report.TABLE, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows].count("failed") == 1
    # With these a committed table is a record that others can check.
    first = next(t for t in trials if t.status == "done")
    result = {"val_top1": first.top1, "test_top1": first.result["test"]["top1"], **first.cost, **first.chosen}
    assert {"val_top1", "test_top1", "params", "macs", "seed"} <= set(result)
    assert {name: rows[first.number][name] for name in result} == {n: str(v) for n, v in result.items()}
    best = [row for row in rows if row["front"] == "1"]
    assert best
    assert max(float(r["val_top1"] or 0) for r in rows) == max(float(r["val_top1"]) for r in best)


def test_the_report(ended):
    root, plan, trials = ended
    text = report.text(root, plan, trials, "python training/tune.py --space x")
    assert "11 trials finished, 1 failed, 0 open; tuner random, recipe quick, 9 epochs" in text
    assert f"`{report.again(root)}`" in text
    assert "- 0005: the loss is nan | at step 3" in text
    means = text.partition("## Means over seeds and splits")[2]
    rows = [line.split(" | ") for line in means.splitlines() if line.startswith("| ")][2:]
    assert sum(int(row[4]) for row in rows) == 11
    assert {row[4] for row in rows} == {"1", "2"}
    assert rows[-1][-1].startswith("+0.1160 +- 0.0000 (n=2)")  # two units and eight channels more than the first
    for row in rows:  # the made-up results do not depend on the seed
        assert row[6] == ("0.0000" if row[4] == "2" else "")


def test_the_report_says_how_latencies_were_taken(ended):
    root, plan, trials = ended
    timed = [replace(t, cost={**t.cost, "latency_ms": 1.0}) for t in trials]
    assert "Latencies were measured once" in report.text(root, plan, timed, "tune")
    assert "Latencies" not in report.text(root, plan, trials, "tune")


def test_the_best_is_copied_whole_and_once(ended, tmp_path):
    root, _, trials = ended
    folder = report.write_best(root, trials)
    best = json.loads((folder / "trial.json").read_text())
    assert (best["chosen"]["depth"], best["chosen"]["width"]) == ("3", "16")
    assert (folder / "model.keras").read_text() == "weights"
    assert not list(folder.glob("checkpoints/step_*"))
    before = folder.stat().st_ino
    report.write_best(root, trials)
    assert folder.stat().st_ino == before
    (folder / "model.keras").unlink()
    report.write_best(root, trials)
    assert (folder / "model.keras").exists()


def test_pictures(ended):
    _, _, trials = ended
    done = [t for t in trials if t.status == "done"]
    for figure in (
        pareto(done, done[:1], "macs", "a $ title"),
        parallel(done, ["depth", "width", "seed"], "title"),
    ):
        assert pixels(figure).std() > 10
    assert ordered(["b", "10", "9", "a", "1e-3"]) == ["1e-3", "9", "10", "a", "b"]


def test_lines_in_a_pipe(ended, tmp_path):
    _, plan, trials = ended
    with Log(tmp_path / "log.txt") as log:
        table = Table(io.StringIO(), log, plan.space.names, 12)
        table.show(trials[:3])
        table.show(trials)
        table.show(trials)
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert len(lines) == 12
    assert "trial 0005 (6 of 12)" in lines[5]
    assert lines[5].endswith("failed: the loss is nan | at step 3")
    assert sum("best so far" in line for line in lines) >= 1


@pytest.mark.parametrize("size", [(80, 24), (40, 8), (200, 60)])
def test_the_table_fits_the_terminal(ended, tmp_path, size):
    _, plan, trials = ended
    screen = Terminal()
    with Log(tmp_path / "log.txt") as log:
        table = Table(screen, log, plan.space.names, 12, size)
        table.show(trials)
        first = CONTROL.sub("", screen.getvalue()).splitlines()
        table.show(trials)
        assert CONTROL.sub("", screen.getvalue()).splitlines() == first, "nothing new, nothing drawn"
        table.show(trials[:-1])
    assert len(first) <= size[1] - 1
    assert max(map(len, first)) <= size[0]
    assert "11 done of 12, 1 failed, 0 running" in screen.getvalue()
    later = screen.getvalue()[len("\n".join(first)) :]
    assert later.count("\x1b[1A\x1b[2K") == len(first), "each line is removed"


def test_watching(ended, tmp_path, capsys):
    root, plan, _ = ended
    with Log(tmp_path / "log.txt") as log:
        watcher = Watcher(root, plan, Table(io.StringIO(), log, plan.space.names, 12), [], keep=2)
        watcher.finish()
        conclude(root, watcher.trials, 12, log)
    assert len(list(root.glob("trials/*/model.keras"))) == 2
    assert not list(root.glob("trials/*/checkpoints/step_*"))
    assert {"report.md", "trials.csv", "pareto.png", "parallel.png", "best"} <= {p.name for p in root.iterdir()}
    assert "done: 11 trials, 1 failed, best " in (tmp_path / "log.txt").read_text().splitlines()[-1]


def test_folders(ended, tmp_path):
    root, plan, _ = ended
    assert begun(root)  # then it goes on, even if nothing is allowed any more on a busier machine
    assert not begun(tmp_path)
    assert not begun(None)
    assert find_folder(root, plan, Formula()) == root
    with pytest.raises(ValueError, match=r"holds another search \(tuner: 'random' here, 'bayesian' asked\)"):
        find_folder(root, search("depth=1/2/3,width=8/16,seed=0/1", "bayesian"), Formula())
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"a search's folder, got .*, which holds notes\.txt"):
        find_folder(tmp_path, plan, Formula())
    with pytest.raises(ValueError, match="must be a folder, got the file"):
        find_folder(tmp_path / "notes.txt", plan, Formula())


def test_a_search_of_version_0_1_0_is_read(ended, tmp_path):
    """Its names of types are aliases."""
    _, plan, _ = ended
    write(plan, tmp_path)
    text = (tmp_path / NAME).read_text()
    for name, old in (("SearchConfig", "Search"), ("Constraints", "Limits")):
        assert f'"type": "{name}"' in text
        text = text.replace(f'"type": "{name}"', f'"type": "{old}"')
    (tmp_path / NAME).write_text(text)
    assert read(tmp_path) == plan


@pytest.fixture(params=["damaged", "missing"])
def undescribed(ended, request):
    root, plan, _ = ended
    (root / NAME).write_text('{"type": "Sea')
    if request.param == "missing":
        (root / NAME).unlink()
    yield root, plan, request.param
    write(plan, root)


def test_a_damaged_description_is_written_again(undescribed, capsys):
    root, plan, how = undescribed
    (root / "trials" / "0099").mkdir()
    (root / "trials" / "0099" / "trial.json").write_text("{")  # is looked after later
    assert find_folder(root, plan, Formula()) == root
    shutil.rmtree(root / "trials" / "0099")
    assert ("it is written again" in capsys.readouterr().out) == (how == "damaged")


@pytest.mark.parametrize(
    "other",
    [
        search("depth=1/2/3,gate"),
        search("depth=1/2/3,width=8/16"),
        search("depth=1/2/3,width=8/16,seed=0/1,gate"),
        search("depth=1/2/3,width=32/64,seed=0/1"),
        search("depth=1/2/3,width=8/16,seed=0/1", epochs=3),
        search("depth=1/2/3,width=8/16,seed=0/1", "hyperband"),
    ],
)
def test_another_search_does_not_take_the_place_of_a_damaged_description(undescribed, other, capsys):
    root, *_ = undescribed
    with pytest.raises(
        ValueError, match=r"holds another search \(its trial 0000, of depth=\d, width=.* is not in this search"
    ):
        find_folder(root, other, Formula())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("module", [objective, plots])
def test_examples(module):
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed
