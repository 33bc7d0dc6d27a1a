"""The pages are true: their code runs, the table of architectures is what `measure` finds."""

import csv
import re
import runpy
from pathlib import Path

import pytest

import keras_cnns

ROOT = Path(__file__).parent.parent
TABLE = runpy.run_path(str(ROOT / "docs" / "architecture_table.py"))


PAGES = [
    f"docs/{name}.md"
    for name in (
        "adding_a_network",
        "adding_a_task",
        "coming_from_keras_applications",
        "data",
        "detection",
        "looking_inside",
        "surgery",
        "weights",
    )
]


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, capsys, tmp_path, monkeypatch):
    blocks = python_blocks(page)
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, page, "exec"), {})
    assert capsys.readouterr().out


def readme_rows():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = text.split(TABLE["BEGIN"])[1].split(TABLE["END"])[0].splitlines()
    return {line.split("`")[1]: line for line in lines if line.startswith("| `") and "`--arch`" not in line}


def test_the_readme_lists_every_network_with_its_golden_counts():
    rows = readme_rows()
    assert list(rows) == list(keras_cnns.zoo.ARCHITECTURES)
    with open(ROOT / "tests" / "goldens.csv", newline="") as file:
        goldens = {r["name"]: r for r in csv.DictReader(file)}
    for name, line in rows.items():
        params, macs = (int(cell.replace(",", "")) for cell in line.split("|")[4:6])
        assert (params, macs) == (int(goldens[name]["params"]), int(goldens[name]["macs"])), name


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "wrn16_4", "resnet18"])
def test_a_row_is_what_measure_finds(name):
    assert readme_rows()[name] == TABLE["row"](name)


@pytest.mark.slow
def test_every_row_is_what_measure_finds():
    for name, line in readme_rows().items():
        assert line == TABLE["row"](name)


def test_readme_has_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    train = "pip install -c constraints.txt -e . && python training/fit.py"
    test = 'pip install -c constraints.txt -e ".[test]" && pytest'
    assert train in text
    assert test in text
    assert train in ci
    assert test in ci


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
