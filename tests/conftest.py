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
