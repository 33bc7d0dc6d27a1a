"""Registry of known weights: one row a file in `known.csv`; `own.csv` lists the weights in this package."""

import csv
import fnmatch
import hashlib
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from keras_cnns import values
from keras_cnns.errors import unknown
from keras_cnns.preprocessing import Preprocessing, of_unit
from keras_cnns.values import Count, Range, Value

IMAGENET = "imagenet"
NON_COMMERCIAL = ("cc-by-nc-4.0",)
PERMISSIVE = "permissive"
OWN = "keras_cnns"  # as a source: the file is in this package
UNPUBLISHED_CROP = 0.875  # if a source does not give its crop

Percent = Annotated[float, Range(0, 100)]

# Networks whose weights have the same names and shapes: a file does not show which one it belongs to.
TWINS = (
    *((f"resnet{depth}", f"resnet{depth}_v1") for depth in (50, 101, 152)),
    *((f"resnet{depth}", f"plain{depth}") for depth in (20, 32, 44, 56, 110)),
)


@dataclass(frozen=True)
class Entry(Value):
    """A known set of weights; `str()` gives one line.

    Attributes:
        name: the tag for `weights=`: `source/network.tag`, the id of the source.
        arch: command-line name of the network.
        tag, source: as given by the source; `source/arch.tag` is accepted, too.
        location: id on the hub, or URL.
        file: name of the file.
        params: trainable parameters of the file's network.
        top1, top5: percent, on the validation set of `data` (own weights: the test set), evaluated with the next
            three.
        eval_size, crop_pct, interpolation: pixels a side, fraction of the side that the crop keeps, filter; the
            last two are None if the source does not give them.
        preprocessing: from 0-255 RGB to the input of the training.
        licence: as given by the source.
        sha256_prefix, md5: of the file, "" if not published.
        change: change of the row that the weights need, a name in `keras_cnns.weights.changes`, or "".
        notes: further facts.
        data: the training set.
        classes: names of the classes in the order of the outputs, if they are not ImageNet's.
    """

    name: str
    arch: str
    tag: str
    source: Literal["timm", "torchvision", "keras", "keras_cnns"]
    location: str
    file: str
    params: int
    top1: Percent
    top5: Percent
    eval_size: Count
    crop_pct: float | None
    interpolation: Literal["bilinear", "bicubic"] | None
    preprocessing: Preprocessing
    licence: str
    sha256_prefix: str
    md5: str
    change: str
    notes: str
    data: str = "ImageNet"
    classes: tuple[str, ...] = ()

    def __str__(self):
        crop = "" if self.crop_pct is None else f", crop {self.crop_pct:g}, {self.interpolation}"
        measured = f"top-1 {self.top1:g} % " + (f"on {self.data} " if self.classes else "")
        return f"{self.name}: {self.arch}, {measured}at {self.eval_size}{crop}, {self.licence}"

    @property
    def permissive(self) -> bool:
        """True if the licence allows commercial use."""
        return self.licence not in NON_COMMERCIAL

    @property
    def resized(self) -> int:
        """Pixels of the shorter side before the crop of the published evaluation."""
        return int(self.eval_size / (self.crop_pct or UNPUBLISHED_CROP) + 1e-9)

    @property
    def on_hub(self) -> bool:
        """True if `location` is an id on the hub, not a URL."""
        return not self.location.startswith("https://")


@cache
def entries() -> dict[str, Entry]:
    """All entries by name, in the order of `known.csv`, then of `own.csv`."""
    found = {}
    for table in ("known.csv", "own.csv"):
        with (resources.files(__package__) / table).open(encoding="utf-8", newline="") as file:
            found |= {row["name"]: _entry(row) for row in csv.DictReader(file)}
    return found


def packaged(entry: Entry) -> Path:
    """The path of a weights file in this package."""
    return Path(str(resources.files(__package__) / entry.file))


def _entry(row: dict[str, str]) -> Entry:
    mean, std = (tuple(float(v) for v in row.pop(key).split()) for key in ("mean", "std"))
    # Weights from Caffe use values of 0-255 in the order blue, green, red; all others values of 0-1.
    grey_levels = max(mean) > 1
    row["preprocessing"] = Preprocessing(mean, std, "bgr") if grey_levels else of_unit(mean, std)
    row.update({key: int(row[key]) for key in ("params", "eval_size")})
    row.update({key: float(row[key]) for key in ("top1", "top5")})
    row["crop_pct"] = float(row["crop_pct"]) if row["crop_pct"] else None
    row["interpolation"] = row["interpolation"] or None
    if "classes" in row:
        row["classes"] = tuple(row["classes"].split("|"))
    return Entry(**row)


def list_weights(arch: str | None = None, licence: str | None = None) -> list[Entry]:
    """The known weights, best top-1 first within each network.

    Args:
        arch: command-line name of a network, with shell wildcards.
        licence: "permissive" for all that allow commercial use, or a licence as in the entries.

    Raises:
        ValueError: no weights have that licence.

    >>> print(list_weights("vgg16", licence="permissive")[0])
    timm/vgg16.tv_in1k: vgg16, top-1 71.594 % at 224, crop 0.875, bilinear, bsd-3-clause
    """
    every = list(entries().values())
    licences = {e.licence for e in every}
    if licence is not None and licence not in (PERMISSIVE, *licences):
        raise ValueError(unknown("licence", licence, [PERMISSIVE, *licences]))
    order = {name: i for i, name in enumerate(dict.fromkeys(e.arch for e in every))}
    found = [
        e
        for e in every
        if fnmatch.fnmatchcase(e.arch, arch or "*")
        and (licence is None or (e.permissive if licence == PERMISSIVE else e.licence == licence))
    ]
    return sorted(found, key=lambda e: (order[e.arch], -e.top1))


def find(tag: str, arch: str) -> Entry:
    """The weights with that tag for a network; "imagenet" gives the best that allow commercial use.

    Raises:
        ValueError: no such tag, or it belongs to another network.
    """
    known = {e.name: e for e in entries().values()}
    known |= {f"{e.source}/{e.arch}.{e.tag}": e for e in entries().values() if e.arch == arch}
    own = [e for e in list_weights(arch, PERMISSIVE) if not e.classes]
    if tag == IMAGENET:
        if not own:
            raise ValueError(f"no weights are known for {arch} (keras_cnns.list_weights()); give a path")
        return own[0]
    if tag not in known:
        mine = [name for name, e in known.items() if e.arch == arch]
        raise ValueError(unknown("weights", tag, mine or known, f"keras_cnns.list_weights({arch!r})"))
    if known[tag].arch != arch:
        raise ValueError(f"{tag} are weights of {known[tag].arch}, not of {arch}")
    return known[tag]


def without_torch(arch: str) -> Entry | None:
    """The best weights of a network that allow commercial use and are not a pickle, or None."""
    return next((e for e in list_weights(arch, PERMISSIVE) if not e.file.endswith(".pth")), None)


def twins(arch: str) -> list[str]:
    """Networks whose weights files look like those of this one."""
    return [other for pair in TWINS if arch in pair for other in pair if other != arch]


# --- fingerprints of rows ---------------------------------------------------------------------------------------


@cache
def rows() -> dict[str, str]:
    """Fingerprint of the row of every network that has known weights; a test compares them with the zoo."""
    with (resources.files(__package__) / "rows.csv").open(encoding="utf-8", newline="") as file:
        return {row["arch"]: row["sha256"] for row in csv.DictReader(file)}


def fingerprint(row) -> str:
    """16 digits of the sha256 of the fields of a row, and of its parts, that differ from their defaults."""
    return hashlib.sha256(repr(_particulars(row)).encode()).hexdigest()[:16]


def _particulars(value):
    """A value as type names and the fields that differ from their defaults."""
    if not is_dataclass(value):
        return [_particulars(v) for v in value] if isinstance(value, tuple) else values.encode(value)
    own = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != f.default}
    return type(value).__name__, {name: _particulars(v) for name, v in own.items()}


@cache
def class_names() -> tuple[tuple[str, str], ...]:
    """The 1,000 classes of ImageNet in the order of all known weights: (WordNet id, name)."""
    text = (resources.files(__package__) / "imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple((line[:9], line[10:]) for line in text.splitlines())
