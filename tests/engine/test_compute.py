"""What is chosen for which machine, without touching this one's devices."""

from types import SimpleNamespace

import pytest

from training.engine import compute


def machine(*capabilities):
    """A TensorFlow with GPUs of these compute capabilities."""
    gpus = list(range(len(capabilities)))
    details = SimpleNamespace(get_device_details=lambda g: {"compute_capability": capabilities[g]})
    return SimpleNamespace(config=SimpleNamespace(experimental=details)), gpus


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [((), "float32"), (((8, 0),), "bfloat16"), (((9, 0), (8, 6)), "bfloat16"), (((9, 0), (7, 5)), "float32")],
)
def test_auto_precision(capabilities, expected):
    tf, gpus = machine(*capabilities)
    assert compute._precision(tf, gpus, max(1, len(gpus)), "auto")[0] == expected


def test_xla_is_off_on_cpus_and_on_with_a_gpu():
    assert compute._xla([], 1, "auto")[0] is False
    assert compute._xla([0], 1, "auto")[0] is True
    assert compute._xla([], 1, "on")[0] is True
    assert compute._xla([0, 1], 2, "auto")[0] is False


def test_what_this_version_does_not_have_is_refused():
    with pytest.raises(ValueError, match="--xla on with several replicas is not available"):
        compute._xla([0, 1], 2, "on")
    tf, gpus = machine((9, 0), (9, 0))
    with pytest.raises(ValueError, match="float16 with several replicas is not available"):
        compute._precision(tf, gpus, 2, "float16")


def test_a_batch_is_shared_evenly():
    two = compute.Compute("CPU", 2, "float32", False, None, "")
    two.check_batch(64)
    with pytest.raises(ValueError, match=r"must divide by 2 replicas; 63 came \(62 would do\)"):
        two.check_batch(63)
    assert two.policy == "float32"
