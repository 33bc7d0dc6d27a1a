"""RoIPool and RoIAlign against loops, in pieces, on other engines' terms, and what they refuse to remember."""

import keras
import numpy as np
import pytest
from keras import ops
from references import random_boxes, roi_align, roi_pool

from keras_cnns.detection import RoIAlign, RoIPool, roi

CHANCE = np.random.RandomState(5)
MAPS = CHANCE.randn(2, 11, 17, 3).astype("float32")
STRIDE = 16
BOXES = np.stack([random_boxes(CHANCE, 12, 11 * STRIDE, 17 * STRIDE) for _ in range(2)])
# The whole map, a single point, a region on the far edge, one as thin as can be.
BOXES[0, :4] = [[0, 0, 272, 176], [40, 40, 40, 40], [260, 160, 272, 176], [3, 3, 5, 170]]


def compare(ours, reference):
    got = np.asarray(ops.convert_to_numpy(ours)).reshape(2, 12, *ours.shape[1:])
    for i in range(2):
        for k in range(12):
            np.testing.assert_allclose(got[i, k], reference(MAPS[i], BOXES[i, k]), atol=2e-5, err_msg=str((i, k)))


@pytest.mark.parametrize("size", [3, 7, 14])
def test_pool_is_the_loop(size):
    compare(RoIPool(size)(MAPS, BOXES, STRIDE), lambda m, b: roi_pool(m, b, size, STRIDE))


@pytest.mark.parametrize(("size", "samples"), [(7, 1), (7, 2), (4, 3), (3, 0), (14, 0)])
def test_align_is_the_loop(size, samples):
    compare(RoIAlign(size, samples)(MAPS, BOXES, STRIDE), lambda m, b: roi_align(m, b, size, STRIDE, samples))


@pytest.mark.parametrize("pool", [RoIPool(7), RoIAlign(7)])
def test_pieces_make_no_difference(pool, monkeypatch):
    whole = np.asarray(pool(MAPS, BOXES, STRIDE))
    monkeypatch.setattr(roi, "PIECE", 7 * 17 * 3 * 2 * 5)
    np.testing.assert_allclose(np.asarray(pool(MAPS, BOXES, STRIDE)), whole, atol=1e-6)


@pytest.mark.parametrize("pool", [RoIPool(3), RoIAlign(3)])
def test_gradients_reach_the_map(pool):
    """By finite differences of a random projection of the answer."""
    import tensorflow as tf

    maps, boxes = tf.constant(MAPS[:, :5, :6, :1]), BOXES[:, 4:7] * (5 / 17)
    weights = CHANCE.randn(6, 3, 3, 1).astype("float32")

    def value(x):
        return tf.reduce_sum(pool(x, boxes, STRIDE) * weights)

    with tf.GradientTape() as tape:
        tape.watch(maps)
        total = value(maps)
    slope = tape.gradient(total, maps).numpy()
    step = CHANCE.randn(*maps.shape).astype("float32") * 1e-3
    np.testing.assert_allclose(
        float(value(maps + step) - value(maps - step)) / 2, float((slope * step).sum()), rtol=2e-2, atol=1e-4
    )


def test_a_map_of_unknown_size():
    image = keras.Input((None, None, 3))
    from keras_cnns.detection.anchors import Anchors
    from keras_cnns.detection.layers import Pool

    boxes = keras.Input((12, 4))
    for pool in (RoIPool(7), RoIAlign(7, 0)):
        model = keras.Model([image, boxes], Pool(Anchors(stride=STRIDE), pool)(image, boxes))
        np.testing.assert_allclose(model([MAPS, BOXES]), np.asarray(pool(MAPS, BOXES, STRIDE)), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["RoIPool(14)", "RoIAlign(14)"])
def test_memory_at_full_size(pool):
    """300 regions of the map of 600 x 1000 with 1024 channels; the answer alone is 0.23 GiB."""
    from support import fresh_process

    script = f"""
import resource
import numpy as np
import tensorflow as tf
from keras_cnns.detection import RoIAlign, RoIPool
maps, chance = tf.random.normal((1, 38, 63, 1024)), np.random.RandomState(0)
corners = chance.uniform(0, [700, 400], (300, 2))
boxes = np.concatenate([corners, chance.uniform(corners + 16, [1000, 600])], 1)[None].astype("float32")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
out = tf.function(lambda m, b: {pool}(m, b, 16))(maps, boxes)
print(out.shape, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20)
"""
    shape, used = fresh_process(script).splitlines()[-1].rsplit(" ", 1)
    assert shape == "(300, 14, 14, 1024)"
    assert float(used) < 2  # GiB
