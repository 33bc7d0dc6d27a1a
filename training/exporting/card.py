"""Fills the templates of `card.md`, which says what an export is and how to call its files."""

import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

from training.exporting.formats import Exportable
from training.report.folder import markdown_table

PAGE = Path(__file__).with_name("card.md")
COLUMNS = {
    "latency": lambda figures: f"{figures['latency_ms']:.2f} ms",
    "speed": lambda figures: f"{figures['speed']:.2f} times Keras",
}


def render(model: Exportable, record: dict, refused: list[str]) -> str:
    """The card of an export.

    Args:
        record: content of `export.json`.
        refused: for each file that was not published, why.
    """
    first = next(iter(record["files"].values()))
    threads = f"{first['threads']} thread{'s' if first['threads'] > 1 else ''}"
    latency = f"Latency: one image on {threads} of {record['machine']['cpu']}."
    values = record | {
        "citation": model.provenance.citation,
        "classes": len(model.network.classes),
        "table": format_table(model, record["files"]),
        "notes": "\n\n".join([f"{model.summary(record)} {latency}", *refused]),
        "usage": model.usage(record["files"]),
    }
    return Template(PAGE.read_text(encoding="utf-8")).substitute(values)


def format_table(model: Exportable, files: dict[str, dict]) -> str:
    """The figures of all files as a table."""
    columns = {"size": lambda figures: f"{figures['bytes'] / 1e6:.2f} MB", **model.columns, **COLUMNS}
    rows = [[f"`{name}`", *(cell(figures) for cell in columns.values())] for name, figures in files.items()]
    return markdown_table(["file", *columns], rows)


def fill(template: Path, files: Iterable[str], **values) -> str:
    """A template with its values, without the parts for kinds of files that are not there."""
    kinds = {Path(file).suffix[1:] or "saved_model" for file in files}
    text = re.sub(
        r"<!-- (\w+) -->\n(.*?)<!-- end -->\n",
        lambda part: part[2] if part[1] in kinds else "",
        template.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    return Template(text).substitute(values).rstrip()
