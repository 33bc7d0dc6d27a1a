"""Values: checked when made, to JSON and back, fields set by their path."""

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import pytest

from keras_cnns.errors import unknown
from keras_cnns.spaces import Int, opened, openings
from keras_cnns.values import (
    Count,
    Fraction,
    Positive,
    Value,
    by_name,
    decode,
    describe,
    encode,
    from_json,
    hints,
    mismatch,
    set_field,
    snake,
    to_json,
)


def double(x):
    return 2 * x


def triple(x):
    return 3 * x


@dataclass(frozen=True)
class PadCrop(Value):
    pixels: Count = 4

    def __call__(self, x):
        return x


@dataclass(frozen=True)
class Flip(Value):
    chance: Fraction = 0.5

    def __call__(self, x):
        return x


@dataclass(frozen=True)
class Rate(Value):
    start: Positive = 0.1
    steps: tuple[Count, ...] = ()


@dataclass(frozen=True)
class Recipe(Value):
    name: str
    rate: Rate = Rate()
    augment: tuple[Callable, ...] = ()
    size: Count | None = None
    mode: Literal["cosine", "steps"] = "cosine"
    pair: tuple[int, float] = (1, 0.5)
    act: Callable = double
    nesterov: bool = False
    extra: Any = None


ALLOWED = by_name((PadCrop, Flip, Rate, Recipe, double))
FULL = Recipe("a", Rate(0.5, (1, 2)), (PadCrop(3), Flip(0.0)), 32, "steps", (2, 1.5), double, True)

GOOD = [
    ("name", ""),
    ("rate", Rate()),
    ("augment", (PadCrop(), double)),
    ("size", None),
    ("size", 1),
    ("size", 65_536),
    ("mode", "steps"),
    ("pair", (-3, 1)),
    ("act", PadCrop),
    ("nesterov", True),
    ("extra", (1, "x", None)),
]
BAD = [
    ("name", 3, "Recipe.name must be str, got 3"),
    ("rate", 0.1, "Recipe.rate must be Rate, got 0.1"),
    ("augment", [double], "Recipe.augment must be a tuple of a part (something to call)"),
    ("augment", (double, "flip"), "got 'flip'"),
    ("size", 0, "Recipe.size must be int from 1 to 65536 or None, got 0"),
    ("size", 65_537, "got 65537"),
    ("size", 32.0, "got 32.0"),
    ("size", True, "got True"),
    ("size", "32", "got '32'"),
    ("mode", "step", "Recipe.mode must be 'cosine' or 'steps', got 'step'"),
    ("pair", (1, 0.5, 2), "Recipe.pair must be (int, float), got 3 items"),
    ("pair", (0.5, 1), "got 0.5"),
    ("act", None, "Recipe.act must be a part"),
    ("nesterov", 1, "Recipe.nesterov must be bool, got 1"),
]


@pytest.mark.parametrize(("field", "value"), GOOD)
def test_good_values(field, value):
    assert getattr(replace(FULL, **{field: value}), field) == value


@pytest.mark.parametrize(("field", "value", "message"), BAD)
def test_bad_values(field, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(FULL, **{field: value})


@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf"), 1e13, True, "0.1", None])
def test_positive(value):
    with pytest.raises(ValueError, match=re.escape("Rate.start must be float from 1e-12 to 1e+12")):
        Rate(value)


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 0.3])
def test_fraction_includes_its_ends(value):
    assert Flip(value).chance == value
    for outside in (-1e-9, 1 + 1e-9, 2):
        assert mismatch(outside, Fraction)


def test_values_are_frozen_and_equal():
    assert replace(FULL) == FULL
    assert hash(FULL) == hash(replace(FULL))
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.name = "b"


def test_hints_keep_order():
    assert list(hints(Rate)) == ["start", "steps"]
    assert describe(hints(Rate)["steps"]) == "a tuple of int from 1 to 65536"


# --- JSON -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [FULL, Recipe("a"), Rate(1), (Rate(), double, 3, None, "x", True)])
def test_round_trip(value):
    text = to_json(value)
    again = from_json(text, ALLOWED)
    assert again == value
    assert type(again) is type(value)
    assert to_json(again) == text


def test_what_is_written():
    assert encode(Recipe("a", augment=(Flip(),), act=double)) == {
        "type": "Recipe",
        "name": "a",
        "rate": {"type": "Rate", "start": 0.1, "steps": []},
        "augment": [{"type": "Flip", "chance": 0.5}],
        "size": None,
        "mode": "cosine",
        "pair": [1, 0.5],
        "act": {"function": "double"},
        "nesterov": False,
        "extra": None,
    }


@pytest.mark.parametrize("value", [[1], {1: 2}, object(), b"x", 1j, Rate, Recipe("a", extra={1})])
def test_what_cannot_be_written(value):
    with pytest.raises(TypeError, match="a value must hold"):
        to_json(value)


def test_missing_fields_take_their_defaults():
    assert decode({"type": "Recipe", "name": "b"}, ALLOWED) == Recipe("b")


HOSTILE = [
    ({"type": "Recipe"}, "Recipe needs the field 'name'"),
    ({"type": "Popen", "args": ["sh"]}, "no type 'Popen'"),
    ({"type": "flip"}, "did you mean 'Flip'"),
    ({"type": "double"}, "no type 'double'"),
    ({"type": None}, "no type None"),
    ({"type": {"type": "Rate"}}, "no type"),
    ({}, "no type None"),
    ({"function": "triple"}, "no function 'triple'"),
    ({"function": "Rate"}, "no function 'Rate'"),
    ({"function": 3}, "no function 3"),
    ({"type": "Rate", "function": "double"}, "no field of Rate 'function'"),
    ({"type": "Rate", "strat": 1}, "no field of Rate 'strat'; did you mean 'start'?"),
    ({"type": "Rate", "__class__": 1}, "no field of Rate '__class__'"),
    ({"type": "Rate", "start": 0}, "Rate.start must be"),
    ({"type": "Rate", "steps": [1] * 20_001}, "at most 20000 items, got 20001"),
    ({"type": "Rate", "steps": 3}, "Rate.steps must be"),
]


@pytest.mark.parametrize(("data", "message"), HOSTILE)
def test_hostile_data(data, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_json(json.dumps(data), ALLOWED)


def test_deep_nesting():
    data = []
    for _ in range(40):
        data = [data]
    with pytest.raises(ValueError, match="nest at most 32 deep"):
        decode(data, ALLOWED)
    for text in ("[" * 100_000, "{", "", "nan'", "[1,]"):
        with pytest.raises(ValueError, match="not JSON"):
            from_json(text, ALLOWED)


# --- old names ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CosineDecay(Value):
    ALIASES: ClassVar = ("Cosine", "HalfCosine")
    RENAMED: ClassVar = {"warm": "warmup", "floor": "final"}

    warmup: Count = 5
    final: Fraction = 0.0
    rate: Rate = Rate()


@dataclass(frozen=True)
class LongCosineDecay(CosineDecay):
    pass


@dataclass(frozen=True)
class Plan(Value):
    RENAMED: ClassVar = {"decay": "schedule"}

    schedule: CosineDecay | None = None


RENAMED = by_name((CosineDecay, LongCosineDecay, Plan, Rate))


@pytest.mark.parametrize("kind", ["CosineDecay", "Cosine", "HalfCosine"])
def test_old_names_are_read_and_new_ones_written(kind):
    value = decode({"type": "Plan", "decay": {"type": kind, "warm": 3, "final": 0.5}}, RENAMED)
    assert value == Plan(CosineDecay(3, 0.5))
    rate = {"type": "Rate", "start": 0.1, "steps": []}
    decay = {"type": "CosineDecay", "warmup": 3, "final": 0.5, "rate": rate}
    assert encode(value) == {"type": "Plan", "schedule": decay}


def test_a_subclass_takes_over_renamed_fields_but_no_alias():
    assert decode({"type": "LongCosineDecay", "warm": 3}, RENAMED) == LongCosineDecay(3)
    assert RENAMED["Cosine"] is CosineDecay


def test_a_class_wins_its_name_against_the_alias_of_another():
    @dataclass(frozen=True)
    class Speed(Value):
        ALIASES: ClassVar = ("Rate",)

    for parts in ((Speed, Rate), (Rate, Speed)):
        assert by_name(parts) == {"Speed": Speed, "Rate": Rate}


@pytest.mark.parametrize("path", ["decay.warm", "schedule.warm", "decay.warmup", "schedule.warmup"])
def test_old_paths_are_set(path):
    assert set_field(Plan(CosineDecay()), path, "7", RENAMED) == Plan(CosineDecay(7))
    assert set_field(Plan(), "decay", "half_cosine", RENAMED) == Plan(CosineDecay())
    assert openings(opened(Plan(CosineDecay()), path, Int(1, 7))) == {"schedule.warmup": Int(1, 7)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"type": "Cosine", "warmup": 1, "warm": 2},
            "CosineDecay.warmup is given twice, as 'warm' and as 'warmup'",
        ),
        ({"type": "Half"}, "no type 'Half' (4 known: CosineDecay, LongCosineDecay, Plan, Rate)"),
        ({"type": "CosineDecay", "flor": 1}, "no field of CosineDecay 'flor' (3 known: final, rate, warmup)"),
        ({"type": "Cosine", "warm": 0}, "CosineDecay.warmup must be int from 1 to 65536"),
    ],
)
def test_old_names_are_never_suggested(data, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        decode(data, RENAMED)


def test_old_paths_are_never_suggested():
    with pytest.raises(ValueError, match=re.escape("no field of Plan 'decoy' (1 known: schedule)")):
        set_field(Plan(), "decoy", "none", RENAMED)


# --- set_field --------------------------------------------------------------------------------------------------

SETTINGS = [
    ("name", "b", "b"),
    ("name", "3", "3"),
    ("name", "none", "none"),
    ("rate.start", "0.5", 0.5),
    ("rate.start", "1e-3", 1e-3),
    ("rate.start", "2", 2),
    ("rate.steps", "30,60", (30, 60)),
    ("rate.steps", "30", (30,)),
    ("rate.steps", "none", ()),
    ("augment", "none", ()),
    ("augment", "flip,pad_crop", (Flip(), PadCrop())),
    ("augment", "Flip", (Flip(),)),
    ("augment", "double", (double,)),
    ("size", "64", 64),
    ("size", "none", None),
    ("mode", "steps", "steps"),
    ("nesterov", "true", True),
    ("nesterov", "False", False),
    ("act", "double", double),
]


@pytest.mark.parametrize(("path", "text", "expected"), SETTINGS)
def test_set_field(path, text, expected):
    changed = set_field(FULL, path, text, ALLOWED)
    value = changed
    for part in path.split("."):
        value = getattr(value, part)
    assert value == expected
    assert type(value) is type(expected)
    if "." not in path:
        assert replace(changed, **{path: getattr(FULL, path)}) == FULL


WRONG = [
    ("nmae", "b", "no field of Recipe 'nmae'; did you mean 'name'?"),
    ("rate.strat", "1", "no field of Rate 'strat'; did you mean 'start'?"),
    ("name.first", "x", "has no field 'first'"),
    ("rate.start", "fast", "Rate.start must be float from 1e-12 to 1e+12, got 'fast'"),
    ("rate.start", "0", "Rate.start must be"),
    ("rate.start", "nan", "Rate.start must be"),
    ("rate.steps", "30,x", "Rate.steps must be"),
    ("size", "64.0", "Recipe.size must be int from 1 to 65536 or None"),
    ("size", "0", "Recipe.size must be"),
    ("mode", "linear", "Recipe.mode must be 'cosine' or 'steps'"),
    ("nesterov", "1", "Recipe.nesterov must be bool"),
    ("augment", "flip,flop", "Recipe.augment must be"),
    ("act", "os.system", "Recipe.act must be"),
    ("", "1", "no field of Recipe ''"),
]


@pytest.mark.parametrize(("path", "text", "message"), WRONG)
def test_set_field_refuses(path, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        set_field(FULL, path, text, ALLOWED)


def test_snake():
    assert [snake(n) for n in ("PadCrop", "Flip", "double")] == ["pad_crop", "flip", "double"]


def test_unknown():
    assert unknown("arch", "resnet5", ["resnet50", "vgg16"]) == (
        "no arch 'resnet5'; did you mean 'resnet50'? (2 known: resnet50, vgg16)"
    )
    assert unknown("arch", "zzz", ["a"]) == "no arch 'zzz' (1 known: a)"
    assert unknown("arch", "zzz", [f"n{i:02}" for i in range(40)]).endswith("n29, ...)")
