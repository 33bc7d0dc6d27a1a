"""Choices as values, and the dimensions that architectures publish: they derive what papers have built by hand."""

from dataclasses import dataclass, replace

import pytest

from keras_cnns import values, zoo
from keras_cnns.blocks import Basic, Bottleneck, SqueezeExcite, Staged, no_gate
from keras_cnns.dimensions import dimensions
from keras_cnns.models.resnet import ResNet20, ResNet50, ResNet110
from keras_cnns.models.resnet_v2 import ResNet110V2
from keras_cnns.models.resnext import ResNeXt29_8x64d, ResNeXt29_16x64d, ResNeXt50_32x4d, ResNeXt101_32x8d
from keras_cnns.models.senet import SEResNet20, SEResNeXt50_32x4d
from keras_cnns.models.sknet import SKNET50
from keras_cnns.models.vgg import VGG11
from keras_cnns.models.wide_resnet import WRN16_4, WRN16_8, WRN40_4, WideResNet50_2
from keras_cnns.spaces import PARTS, Choice, Int, LogUniform, filled, opened, openings
from training.recipes.defaults import QUICK
from training.recipes.optimizers import SGD


def put(architecture, **chosen):
    """The row after some dimensions have been set."""
    for name, value in chosen.items():
        architecture = dimensions(architecture)[name].put(architecture, value)
    return architecture.row


@pytest.mark.parametrize(
    ("row", "published"),
    [
        (put(ResNeXt29_8x64d, cardinality=16), ResNeXt29_16x64d),
        (put(ResNet50, cardinality=32, width=4), ResNeXt50_32x4d),
        (put(ResNet50, width=128), WideResNet50_2),
        (put(WRN16_4, width=128), WRN16_8),
        (put(WRN16_4, depth=6), WRN40_4),
        (put(ResNet20, gate="se"), SEResNet20),
        (put(ResNeXt50_32x4d, gate="se"), SEResNeXt50_32x4d),
        (put(ResNet110, order="e"), ResNet110V2),
        (put(ResNet110V2, order="a"), ResNet110),
    ],
)
def test_papers_from_papers(row, published):
    assert row == published.row


def test_kernels_and_attention():
    assert put(ResNeXt50_32x4d, spatial="sk") == SKNET50
    assert put(ResNeXt50_32x4d, spatial="sk", branches="3+5").unit.spatial.branches == ((3, 1), (5, 1))
    resnest = put(zoo.architecture("resnest50"), radix=4, cardinality=2, width=40)
    assert (resnest.unit.spatial.radix, resnest.unit.spatial.cardinality, resnest.unit.inner) == (4, 2, 1.25)
    assert put(SEResNet20, reduction=4).unit.gate == SqueezeExcite(4)


@pytest.mark.parametrize("name", zoo.list_models())
def test_where_it_stands_is_where_it_stays(name):
    architecture = zoo.architecture(name)
    for dimension in dimensions(architecture).values():
        assert dimension.put(architecture, dimension.now).row == architecture.row, dimension.name


def test_depth_where_stages_differ():
    assert put(ResNeXt101_32x8d, depth=0.5).depths == (2, 2, 12, 2)
    with pytest.raises(ValueError, match=r"must be an integer, got 1.5"):
        put(ResNet20, depth=1.5)


def test_nothing_is_published_that_is_not_there():
    assert dimensions(VGG11) == {}
    assert "radix" not in dimensions(ResNet50)
    assert "cardinality" not in dimensions(ResNet20)
    assert "reduction" not in dimensions(ResNet20)


# --- open values ----------------------------------------------------------------------------------------------


def test_a_row_may_hold_choices():
    gates = Choice((no_gate, SqueezeExcite()))
    row = replace(ResNet20.row, depths=Choice(((1, 1, 1), (2, 2, 2)))).with_unit(gate=gates)
    assert list(openings(row)) == ["depths", "unit.gate"]
    done = filled(row, {"depths": (2, 2, 2), "unit.gate": SqueezeExcite()})
    assert done == replace(SEResNet20.row, depths=(2, 2, 2))
    allowed = {**zoo.PARTS, **PARTS}
    assert values.from_json(values.to_json(row), allowed) == row


def test_each_option_is_checked_at_once():
    with pytest.raises(ValueError, match=r"SGD.rate must be float .*, got 'fast'"):
        SGD(rate=Choice((0.1, "fast")))
    with pytest.raises(ValueError, match=r"Bottleneck.stride_at must be"):
        Bottleneck(stride_at=Int(1, 3))
    assert openings(replace(QUICK, optimizer=SGD(rate=LogUniform(0.01, 1)))) == {
        "optimizer.rate": LogUniform(0.01, 1)
    }


def test_what_concerns_several_fields_waits():
    row = Staged(Choice(((1, 1), (1, 1, 1))), Basic(), widths=(16, 32))
    assert filled(row, {"depths": (1, 1)}).depths == (1, 1)
    with pytest.raises(ValueError, match="widths must have 3 entries"):
        filled(row, {"depths": (1, 1, 1)})


def test_items_of_a_tuple():
    row = replace(ResNet20.row, depths=(Int(1, 4), 2, 2))
    assert filled(row, {"depths.0": 3}).depths == (3, 2, 2)
    with pytest.raises(ValueError, match=r"depths.0 is still open"):
        filled(row, {})


def test_a_choice_of_a_nested_value_leaves_its_owner_as_it_was():
    @dataclass(frozen=True)
    class Pair(values.Value):
        low: int
        high: int

        def check(self):
            if self.low > self.high:
                raise ValueError("low is at most high")

    with pytest.raises(ValueError, match="low is at most high"):
        Pair(2, 1)
    assert filled(Pair(Choice((5, 1)), 2), {"low": 1}) == Pair(1, 2)


def test_opening_by_path():
    assert opened(SGD(), "rate", LogUniform(0.01, 1)).rate == LogUniform(0.01, 1)
    with pytest.raises(ValueError, match="no field of SGD 'rat'; did you mean 'rate'"):
        opened(SGD(), "rat", LogUniform(0.01, 1))


def test_domains():
    for bad in (lambda: Choice(()), lambda: Int(2, 1), lambda: LogUniform(1, 1), lambda: LogUniform(0, 1)):
        with pytest.raises(ValueError, match=r"must have|at least|must be"):
            bad()
    assert [LogUniform(1e-3, 1e-1).at(s) for s in (0, 0.5, 1)] == [0.001, 0.01, 0.1]
