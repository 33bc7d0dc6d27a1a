"""Several replicas against one device, on logical CPU devices; `replica_laws.py` has the cases."""

import json
from pathlib import Path

import forked
import numpy as np
import pytest
from replica_laws import CASES

FAST = ("plain", "all", "ragged", "dropout", "overflow", "statistics_xla")
OTHERS = ("ragged", "dropout", "overflow", "statistics", "statistics_xla")


def laws(replicas, names):
    script = Path(__file__).with_name("replica_laws.py")
    done = forked.run([script, replicas, *names], timeout=900, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def two():
    return laws(2, FAST)


def check_law(name, found):
    """Equal to float32 rounding, having moved far more than that; traced once a replica and part, not a step."""
    assert found["losses"] < 2e-6
    assert found["weights"] < 2e-6
    assert found["moved"] > 1e-3
    case = CASES[name]
    parts = 1 if case.get("xla") else case.get("accumulate", 1)
    assert found["traces"] == found["replicas"] * parts


@pytest.mark.parametrize("name", ["plain", "all"])
def test_losses_and_weights_are_those_of_one_device(two, name):
    check_law(name, two[name])


def check_ragged(found):
    one, many = found
    assert many["top1"] == pytest.approx(one["top1"], rel=1e-6)
    assert many["loss"] == pytest.approx(one["loss"], rel=1e-6)


def test_a_last_batch_of_one_image_is_measured(two):
    check_ragged(two["ragged"])


def check_dropout(found):
    for first, again in found.values():
        assert first == again, "the same seed gives the same numbers"
        (a, *others), later = first
        assert all(a != b for b in others), "equal images get other masks on another replica"
        assert later[0] != a, "and in another step"


def test_dropout_differs_on_every_replica_and_can_be_repeated(two):
    check_dropout(two["dropout"])


def check_overflow(found):
    (change, scale, steps), *later = found["steps"]
    assert change == 0, "a gradient that is not finite on the last replica skips the step on all"
    assert (scale, steps) == (found["scale"] / 2, 0)
    assert [steps for _, _, steps in later] == [1, 2]
    assert all(change > 1e-3 and np.isfinite(change) for change, _, _ in later)


def test_an_overflow_on_one_replica_skips_the_step_on_all(two):
    check_overflow(two["overflow"])


def check_statistics(found):
    assert found["drifted"] > 1e-4, "each replica normalises its own share"
    assert found["is_mean"] < 1e-6
    assert found["apart"] == 0
    assert found["under"]["top1"] == found["alone"]["top1"]
    assert found["under"]["loss"] == pytest.approx(found["alone"]["loss"], rel=1e-5)


def test_statistics_are_averaged_and_what_is_saved_is_what_was_evaluated(two):
    check_statistics(two["statistics_xla"])


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 3])
def test_every_law(replicas):
    found = laws(replicas, [*CASES, *OTHERS])
    for name in CASES:
        check_law(name, found[name])
    check_ragged(found["ragged"])
    check_dropout(found["dropout"])
    check_overflow(found["overflow"])
    check_statistics(found["statistics"])
    check_statistics(found["statistics_xla"])


FAMILIES = (
    *("lenet5", "alexnet", "nin_cifar", "vgg11_bn", "googlenet_tv", "resnet20", "resnet50_v2", "wrn16_4"),
    *("resnext50_32x4d", "seresnet18", "sknet26", "resnest14", "repvgg_a0"),
)


@pytest.mark.slow
def test_a_network_of_every_family():
    script = Path(__file__).with_name("families.py")
    done = forked.run([script, *FAMILIES], timeout=3600, check=True)
    for line in done.stdout.splitlines():
        found = json.loads(line)
        for mode in ("plain", "compiled"):
            assert found[mode]["losses"] < 1e-5, (found["name"], mode, found[mode])
            # XLA orders a sum by its shape, and the norms of attention gates, over four values, magnify that.
            limit = 1e-4 if mode == "compiled" else 1e-5
            assert found[mode]["weights"] < limit, (found["name"], mode, found[mode])
        assert found["compiled"]["said"].startswith("XLA: on for every replica"), found
