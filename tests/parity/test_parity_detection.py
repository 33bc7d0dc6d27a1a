"""Anchors, suppression, RoIPool and RoIAlign against torchvision's operations."""

import numpy as np
import pytest
from carrying import torch, torchvision

from keras_cnns.detection import Anchors, RoIAlign, RoIPool
from keras_cnns.detection.nms import _by_loop, select

pytestmark = pytest.mark.parity
# Without its compiled operations torchvision still has RoIAlign in Python.
compiled = pytest.mark.skipif(
    not torchvision.extension._has_ops(), reason="this torchvision has no compiled operations"
)

CHANCE = np.random.RandomState(7)
HEIGHT, WIDTH, STRIDE = 19, 31, 16


def boxes(n: int) -> np.ndarray:
    corners = CHANCE.uniform(0, [WIDTH * STRIDE - 4, HEIGHT * STRIDE - 4], (n, 2))
    ends = CHANCE.uniform(corners + 4, [WIDTH * STRIDE, HEIGHT * STRIDE])
    return np.concatenate([corners, ends], axis=1).astype("float32")


MAPS = CHANCE.randn(2, HEIGHT, WIDTH, 5).astype("float32")
REGIONS = np.stack([boxes(40), boxes(40)])


def theirs(operation, size, **options):
    maps, regions = torch.tensor(MAPS.transpose(0, 3, 1, 2)), [torch.tensor(r) for r in REGIONS]
    return operation(maps, regions, size, 1 / STRIDE, **options).numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("samples", [1, 2, 3, 0])
@pytest.mark.parametrize("size", [7, 14])
def test_roi_align(size, samples):
    from torchvision.ops.roi_align import _roi_align

    maps = torch.tensor(MAPS.transpose(0, 3, 1, 2))
    numbers = np.repeat([0.0, 1.0], REGIONS.shape[1])[:, None]
    regions = torch.tensor(np.concatenate([numbers, REGIONS.reshape(-1, 4)], axis=1).astype("float32"))
    in_python = getattr(_roi_align, "__wrapped__", _roi_align)  # else it calls a compiler
    wanted = in_python(maps, regions, 1 / STRIDE, size, size, samples or -1, True)
    wanted = wanted.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(np.asarray(RoIAlign(size, samples)(MAPS, REGIONS, STRIDE)), wanted, atol=1e-4)


@compiled
@pytest.mark.parametrize("size", [7, 14])
def test_roi_pool(size):
    got = np.asarray(RoIPool(size)(MAPS, REGIONS, STRIDE))
    np.testing.assert_array_equal(got, theirs(torchvision.ops.roi_pool, size))


@compiled
@pytest.mark.parametrize("by", [select, _by_loop])
@pytest.mark.parametrize("overlap", [0.3, 0.7])
def test_suppression(by, overlap):
    some, scores = boxes(300), CHANCE.permutation(300).astype("float32")
    wanted = torchvision.ops.nms(torch.tensor(some), torch.tensor(scores), overlap).numpy()
    chosen, good = (np.asarray(x)[0] for x in by(some[None], scores[None], 300, overlap, -1.0))
    assert chosen[good].tolist() == wanted.tolist()


def test_anchors():
    """torchvision rounds the corners of the first cell; positions and order of ratios and sizes are the same."""
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    sizes, ratios = (32, 64, 128), (0.5, 1.0, 2.0)
    generator = AnchorGenerator((sizes,), (ratios,))
    image = torch.zeros(1, 3, HEIGHT * STRIDE, WIDTH * STRIDE)
    (wanted,) = generator(ImageList(image, [image.shape[-2:]]), [torch.zeros(1, 1, HEIGHT, WIDTH)])
    got = np.asarray(Anchors(sizes, ratios, STRIDE)(HEIGHT, WIDTH))

    def key(anchors):
        return sorted(map(tuple, np.round(anchors).tolist()))

    assert got.shape == wanted.shape
    assert np.abs(np.array(key(got)) - np.array(key(wanted.numpy()))).max() <= 1
