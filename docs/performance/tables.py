"""Writes the tables of docs/performance/README.md from the records in its folder. Run after a benchmark."""

import json
from pathlib import Path

PLACE = Path(__file__).parent
BEGIN, END = "<!-- records: made by docs/performance/tables.py -->", "<!-- end of records -->"
HEAD = (
    "| network | pixels | batch | precision | what | images/s | ours is so many times faster | GB |\n"
    "|---|---:|---:|---|---|---:|---|---:|\n"
)


def table(file: Path) -> str:
    """The records of one run of the benchmark, as a section."""
    found = json.loads(file.read_text(encoding="utf-8"))
    machine = ", ".join(f"{k} {v}" for k, v in found.items() if k not in ("command", "results"))
    return f"### {file.stem}\n\n`{found['command']}`\n\n{machine}\n\n{HEAD}" + "".join(map(row, found["results"]))


def row(r: dict) -> str:
    """One record."""
    who = f"{r['engine']} {r['mode']}" + (", XLA" if r["xla"] else "")
    if "error" in r:
        return f"| {r['model']} | | | {r['precision']} | {who} | {r['error']} | | |\n"
    rate, size, batch = (
        next(v for k, v in r.items() if k.endswith(end))
        for end in ("_samples_per_sec", "_img_size", "_batch_size")
    )
    low, high = r["samples_per_sec_range"]
    times = ""
    if "ratio" in r:
        times = "{ratio:.2f} ({0:.2f} to {1:.2f}, n={rounds})".format(*r["ratio_range"], **r)
    cells = (r["model"], size, batch, r["precision"], who, f"{rate:.4g} ({low:.4g} to {high:.4g})", times)
    return f"| {' | '.join(map(str, cells))} | {r['peak_memory_gb']:.2f} |\n"


def main() -> None:
    readme = PLACE / "README.md"
    text = readme.read_text(encoding="utf-8")
    files = [f for f in sorted(PLACE.glob("*.json")) if "results" in json.loads(f.read_text(encoding="utf-8"))]
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    tables = "\n".join(map(table, files))
    readme.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
