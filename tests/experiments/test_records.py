"""The reports of record belong to the experiments, and the index page says of them what they say."""

import json
import re
from pathlib import Path

import pytest

from training.experiments import EXPERIMENTS
from training.experiments.report import verdict
from training.experiments.welch import Finding

DOCS = Path(__file__).parents[2] / "docs" / "experiments"
INDEX = (DOCS / "README.md").read_text(encoding="utf-8")
DATA = {"digits": "", "Fashion-MNIST": "/fashion"}  # as the index names them: the folder in an experiment's
RECORDS = [(name, data) for name in EXPERIMENTS for data in DATA if (DOCS / f"{name}{DATA[data]}").is_dir()]


def rows(first: str) -> list[list[str]]:
    """The cells of the lines of the index whose first cell it is."""
    tables = [line.strip("|").split("|") for line in INDEX.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in tables if cells[0].strip() == first]


@pytest.mark.parametrize(("name", "data"), RECORDS)
def test_the_index_tells_what_the_report_tells(name, data):
    folder = f"{name}{DATA[data]}"
    record = json.loads((DOCS / folder / "result.json").read_text(encoding="utf-8"))
    report = (DOCS / folder / "report.md").read_text(encoding="utf-8")
    told = verdict([Finding(f["text"], f["held"]) for f in record["findings"]])
    runs = {
        (*t["weights_sha256"], *t["minutes"]): t["minutes"] for t in record["trials"].values()
    }  # twins are one run
    minutes = sum(map(sum, runs.values()))
    ((_, *cells),) = rows(f"[{name}]({folder}/report.md)")
    assert cells == [told, data, f"{record['budget']:g}", str(record["seeds"]), f"{minutes:.0f}"]
    assert ("digits" if record["data"] == "digits" else "Fashion-MNIST") == data
    assert f"**Here: {told}.**" in report
    assert EXPERIMENTS[name].title in report
    assert all((DOCS / folder / picture).is_file() for picture in re.findall(r"\((\w+\.png)\)", report))


def test_every_picture_and_page_of_the_index_is_there():
    targets = re.findall(r"\]\(([^):#]+)\)", INDEX)
    assert targets
    assert not [t for t in targets if not (DOCS / t).exists()]


def test_every_folder_is_an_experiments_and_those_without_a_record_are_said_to_have_none():
    assert {path.name for path in DOCS.iterdir() if path.is_dir()} <= set(EXPERIMENTS)
    for name in EXPERIMENTS:
        for data in DATA:
            if (name, data) not in RECORDS:
                assert ["not run yet", data] in [cells[1:3] for cells in rows(name)], (name, data)
