"""Writes the table of architectures into README.md, with the counts of `measure`. Run after adding a network."""

import inspect
from pathlib import Path

import keras

import keras_cnns

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- architectures: made by docs/architecture_table.py -->", "<!-- end of architectures -->"
HEAD = (
    "| `--arch` | Python | input | parameters | MACs | depth | field | what |\n"
    "|---|---|---|---:|---:|---:|---:|---|\n"
)


def public_name(name: str) -> str:
    """The Python name of an architecture."""
    members = inspect.getmembers(keras_cnns, lambda m: isinstance(m, keras_cnns.Architecture))
    return next(public for public, a in members if a.name == name)


def row(name: str) -> str:
    """One line of the table, measured on the built network."""
    public = public_name(name)
    architecture = getattr(keras_cnns, public)
    m = keras_cnns.measure(architecture())
    keras.backend.clear_session()
    size = "x".join(map(str, architecture.input_shape))
    first, *rest = architecture.citation.rstrip(".").split("; ")  # what, section, paper; how it deviates
    what = "; ".join([first.split(",")[0].split(" after ")[0], *rest])
    return (
        f"| `{name}` | `{public}` | {size} | {m.trainable_params:,} | {m.macs:,} | {m.depth} | "
        f"{m.receptive_field} | {what} |"
    )


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    # The order of the papers, which is that of the modules, not of the alphabet.
    rows = "\n".join(row(name) for name in keras_cnns.zoo.ARCHITECTURES)
    README.write_text(f"{before}{BEGIN}\n{HEAD}{rows}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
