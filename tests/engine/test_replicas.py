"""Two replicas against one device, on logical CPU devices."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("replicas") / "model.keras"
    script = Path(__file__).with_name("two_replicas.py")
    done = subprocess.run([sys.executable, script, path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_says_what_it_uses(report):
    assert report["why"].startswith("devices: 2 CPU, precision: float32")
    assert "XLA: off" in report["why"]


def test_losses_and_weights_equal_one_device_with_frozen_norms(report):
    np.testing.assert_allclose(*report["losses"], rtol=1e-5)
    assert report["difference"] < 1e-5


def test_statistics_are_averaged_and_what_is_saved_is_what_was_evaluated(report):
    assert report["drifted"] > 1e-4, "each replica normalises its own share"
    assert report["is_mean"] < 1e-6
    assert report["apart"] == 0
    assert report["under"]["top1"] == report["alone"]["top1"]
    assert report["under"]["loss"] == pytest.approx(report["alone"]["loss"], rel=1e-5)
