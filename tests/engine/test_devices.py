"""What is chosen for which machine, without touching this one's devices."""

from types import SimpleNamespace

import pytest

from training.engine import devices
from training.engine.cluster import Group


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [([], "float32"), ([8], "bfloat16"), ([9, 8], "bfloat16"), ([9, 7], "float32")],
)
def test_auto_precision(capabilities, expected):
    assert devices.choose_precision("auto", capabilities)[0] == expected
    assert devices.choose_precision("float16", capabilities) == ("float16", "as asked")


def test_xla_is_off_on_cpus_and_on_with_a_gpu():
    assert devices._xla([], 1, "auto", "own")[0] is False
    assert devices._xla([], 2, "on", "own")[0] is True
    assert devices._xla([0], 1, "auto", "own")[0] is True
    assert devices._xla([0, 1], 2, "auto", "own")[0] is True
    assert devices._xla([0, 1], 2, "off", "own") == (False, "as asked")


def test_synchronised_norms_turn_xla_off():
    assert devices._xla([0, 1], 2, "auto", "synchronised") == (False, "cannot compile synchronised batch norm")
    assert devices._xla([0], 1, "auto", "synchronised")[0] is True, "on one device there is nothing to cross"
    with pytest.raises(ValueError, match="--xla on cannot compile --sync-bn"):
        devices._xla([0, 1], 2, "on", "synchronised")


def test_a_batch_is_shared_evenly():
    two = devices.Compute("CPU", 2, "float32", False, None, "")
    two.check_batch(64)
    with pytest.raises(ValueError, match=r"must be divisible by 2 replicas, got 63; try 62"):
        two.check_batch(63)
    assert two.policy == "float32"
    two.check_batch(12, parts=3)
    with pytest.raises(ValueError, match=r"divisible by 6 parts \(2 replicas, 3 passes, pairs\), got 64; try 60"):
        two.check_batch(64, parts=3)


def test_mixed_pairs_stay_on_one_worker():
    communicator = SimpleNamespace(group=Group(("a:1", "b:1", "c:1"), 0))
    three = devices.Compute("CPU", 3, "float32", False, None, "", communicator)
    three.check_batch(9)
    three.check_batch(12, mixed=True)
    with pytest.raises(ValueError, match="divisible by 6 parts"):
        three.check_batch(9, mixed=True)
