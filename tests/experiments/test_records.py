"""The reports of record belong to the experiments, and the index page says of them what they say."""

import json
import re
from pathlib import Path

import pytest

from training.experiments.index import EXPERIMENTS
from training.experiments.reporting import verdict
from training.experiments.value import Finding

DOCS = Path(__file__).parents[2] / "docs" / "experiments"
INDEX = (DOCS / "README.md").read_text(encoding="utf-8")
RECORDS = sorted(path.parent.name for path in DOCS.glob("*/result.json"))


@pytest.mark.parametrize("name", RECORDS)
def test_the_index_tells_what_the_report_tells(name):
    record = json.loads((DOCS / name / "result.json").read_text(encoding="utf-8"))
    report = (DOCS / name / "report.md").read_text(encoding="utf-8")
    told = verdict([Finding(f["text"], f["held"]) for f in record["findings"]])
    (row,) = [line for line in INDEX.splitlines() if line.startswith(f"| [{name}]({name}/report.md) |")]
    assert f"| {told} |" in row
    assert f"| {record['seeds']} |" in row
    assert f"{record['budget']:g}" in row
    assert f"**Here: {told}.**" in report
    assert EXPERIMENTS[name].title in report
    assert all((DOCS / name / picture).is_file() for picture in re.findall(r"\((\w+\.png)\)", report))


def test_every_picture_and_page_of_the_index_is_there():
    targets = re.findall(r"\]\(([^):#]+)\)", INDEX)
    assert targets
    assert not [t for t in targets if not (DOCS / t).exists()]


def test_experiments_without_a_record_are_said_to_have_none():
    for name in set(EXPERIMENTS) - set(RECORDS):
        assert f"| {name} | not run yet |" in INDEX
