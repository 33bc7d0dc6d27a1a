"""Every test starts from the same seed, in float32."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest


@pytest.fixture(autouse=True)
def same_start():
    keras.utils.set_random_seed(1)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def zeros(monkeypatch):
    """Weights of zeros: random ones are most of the work of building, and counting needs none."""

    def fill(self, shape, dtype=None, **options):
        return keras.ops.zeros(shape, dtype=dtype)

    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", fill)
