"""`--space`: what may be written, and one clear line for what may not."""

import re
from dataclasses import replace

import pytest

from keras_cnns import zoo
from keras_cnns.dimensions import width_of
from keras_cnns.spaces import Choice, Int, LogUniform
from training.recipes.defaults import LITTLE, QUICK
from training.recipes.optimizers import Adam
from training.search.cost import CostModel
from training.search.space import Candidate, strengthened
from training.search.space_parser import READY, parse

DIGITS = CostModel(8, 3, 10)


def space(text, arch="resnet20", constant="none", data="digits"):
    return parse(text, Candidate(zoo.architecture(arch), QUICK, data, 0), constant)


def domains(text, **options):
    return {term.name: term.domain for term in space(text, **options).terms}


def test_values():
    assert domains("depth=1..4,width=8/16,recipe.rate=0.01..0.1,recipe.keep=last/best") == {
        "depth": Int(1, 4),
        "width": Choice((8, 16)),
        "recipe.optimizer.rate": LogUniform(0.01, 0.1),
        "recipe.keep": Choice(("last", "best")),
    }
    assert domains("recipe.optimizer=adam/sgd")["recipe.optimizer"].options[0] == Adam()
    assert domains("row.unit.gate=no_gate/squeeze_excite")["row.unit.gate"].options[1].reduction == 16
    assert domains("gate=se,reduction")["reduction"].options == (2, 4, 8, 16, 32)


@pytest.mark.parametrize("name", READY)
def test_ready_spaces(name):
    arch = {"resnext": "resnext29_32x4d", "wrn": "wrn16_4", "sk": "sknet26", "resnest": "resnest14"}.get(
        name, "resnet20"
    )
    assert space(name, arch).size >= 5


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        ("wdth", {}, "no dimension of resnet20 'wdth'; did you mean 'width'?"),
        ("radix", {}, "no dimension of resnet20 'radix'"),
        (",", {}, "--space must have at least one dimension"),
        ("width,width=1", {}, "width and width set the same field"),
        ("recipe.optimizer,recipe.rate", {}, "recipe.optimizer.rate and recipe.optimizer set the same field"),
        ("gate=no", {}, "no value of gate 'no'; did you mean 'none'?"),
        ("width=wide", {}, "width must be numbers, as width=1/2/4"),
        ("width=0/8", {}, "width must be numbers above 0"),
        ("depth=inf", {}, "depth must be numbers, as depth=1/2/4 or depth=1..4, got 'inf'"),
        ("width=8/nan", {}, "width must be numbers"),
        ("width=1..inf", {}, "width must be numbers"),
        ("depth=-inf..3", {}, "depth must be numbers"),
        ("depth=1e300", {}, "must be from -1e+12 to 1e+12, got 1e300"),
        (f"width=1..1{'0' * 400}", {}, "width must be numbers"),
        (f"recipe.rate=1..1{'0' * 400}", {}, "SGD.rate must be float"),
        ("seed=-1", {}, "(must be int from 0 to 2.14748e+09, got -1)"),
        ("seed=0.5..3", {}, "must be int from 0"),
        ("split=-1", {}, "(must be int from 0 to 999999, got -1)"),
        ("split=0.5", {}, "(must be int from 0 to 999999, got 0.5)"),
        ("recipe.strength=-1", {}, "(must be float from 0 to 100, got -1)"),
        ("recipe.strength=nan", {}, "recipe.strength must be numbers"),
        ("recipe.strength=-1..1", {}, "must be float from 0 to 100"),
        ("depth=4..1", {}, "an Int must have low <= high, got 4 and 1"),
        ("recipe.clip", {}, "recipe.clip needs values, as recipe.clip=1/2/4"),
        ("recipe.momentum=0.9", {}, "no field of Recipe 'momentum'"),
        ("recipe.smoothing=2", {}, "Recipe.smoothing must be float from 0 to 1, got '2'"),
        ("row.unit.gate", {}, "row.unit.gate needs values"),
        ("row.unit.gat=none", {}, "no field of Basic 'gat'; did you mean 'gate'?"),
        ("split", {"data": "cifar10"}, "split is for --data digits, got --data cifar10"),
        ("depth,width", {"constant": "macs"}, "at constant macs the width follows from the rest"),
        ("recipe.rate", {"arch": "lenet5", "constant": "macs"}, "lenet5 has no width to fit"),
    ],
)
def test_what_may_not_be_written(text, options, line):
    with pytest.raises(ValueError, match=re.escape(line)) as caught:
        space(text, **options)
    assert "\n" not in str(caught.value)


def test_candidates():
    found = space("depth=1/2,recipe.rate=0.01..0.1,row.unit.gate=no_gate/squeeze_excite,seed,split")
    gate = found.terms[2].domain.options[1]
    chosen = {"depth": 1, "recipe.optimizer.rate": 0.02, "row.unit.gate": gate, "seed": 3, "split": 2}
    candidate = found.candidate(chosen, DIGITS)
    assert candidate.architecture.row.depths == (1, 1, 1)
    assert candidate.architecture.row.unit.gate == gate
    assert candidate.architecture.name == "resnet20_searched"
    assert (candidate.recipe.optimizer.rate, candidate.seed, candidate.data) == (0.02, 3, "digits:2")
    assert candidate.recipe.optimizer.momentum == QUICK.optimizer.momentum


def test_the_width_that_table_2_of_resnext_has(zeros):
    found = space("resnext,depth=0.25", "resnet50")
    sizes = CostModel(64, 3, 1000)
    base = sizes(found.reference()).macs
    for cardinality, width in {2: 40, 4: 24, 8: 14, 32: 4}.items():
        architecture = found.candidate({"cardinality": cardinality, "depth": 0.25}, sizes).architecture
        assert abs(width_of(architecture.row) - width) <= 1
        assert sizes(architecture).macs == pytest.approx(base, rel=0.1)


def test_a_constant_that_cannot_be_kept(zeros):
    found = space("cardinality=32/512,depth=1", "resnext29_32x4d", "macs")
    with pytest.raises(ValueError, match="macs must be within a tenth of the base's"):
        found.candidate({"cardinality": 512, "depth": 1}, DIGITS)


def test_terms_of_one_value_belong_to_the_base(zeros):
    found = space("cardinality=1/2,depth=1", "resnext29_32x4d", "macs")
    assert found.reference().row.depths == (1, 1, 1)
    candidate = found.candidate({"cardinality": 2, "depth": 1}, DIGITS)
    assert DIGITS(candidate.architecture).macs == pytest.approx(DIGITS(found.reference()).macs, rel=0.1)


def test_strength():
    recipe = replace(QUICK, augment=(LITTLE,))
    assert strengthened(recipe, 1.0) == recipe
    assert strengthened(recipe, 2.0).augment[0].rotate == 2 * LITTLE.rotate
    assert strengthened(recipe, 0.0).augment == ()


def test_old_names_of_recipe_fields_are_searched_as_they_were_written():
    """The term keeps the name of the command line, by which an older search knows its trials."""
    found = space("recipe.average=0/0.9,recipe.start")
    assert found.names == ["recipe.average", "recipe.start"]
    chosen = {"recipe.average": 0.9, "recipe.start": "centred"}
    recipe = found.candidate(chosen, CostModel(10, 32, 3)).recipe
    assert (recipe.ema, recipe.initializer) == (0.9, "centred")
