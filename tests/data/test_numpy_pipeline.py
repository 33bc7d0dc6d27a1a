"""The NumPy path against the tf.data path, which is its definition."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_cnns.preprocessing import TORCH
from training.data import folder, numpy_ops, numpy_pipeline, pipeline, stateless_random
from training.data.augment import Affine, AlternatingFlip, Flip, InceptionCrop, PadCrop
from training.data.dataset import Split
from training.data.erasing import Cutout
from training.data.eval_transform import EvalTransform
from training.data.mix import Mixup, soft_labels
from training.data.storage import Encoded, Files, Pixels
from training.engine.keras_step import PaddedBatches, prefetch


def pictures(n: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Smooth ones: of noise, resizing by another order of sums would move many levels."""
    y, x, c, i = np.meshgrid(*(np.arange(k) for k in (height, width, channels, n)), indexing="ij")
    return (127 + 60 * np.sin(y / 3 + i) + 60 * np.cos(x / 2 + c)).astype(np.uint8).transpose(3, 0, 1, 2)


SPLIT = Split(Pixels(pictures(23, 12, 12)), np.arange(23) % 7)
OPTIONS = {"size": 12, "channels": 3, "batch_size": 5, "seed": 3, "preprocess": TORCH}


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_random_numbers_are_the_same(seed):
    index = np.array([0, 1, 7, 2**31])
    theirs, ours = stateless_random.uniform(seed, 5, index, 2), numpy_ops.uniform(seed, 5, index, 2)
    for k in range(3):
        np.testing.assert_array_equal(ours(k), theirs(k))
        np.testing.assert_array_equal(ours.always(k), theirs.always(k))
    np.testing.assert_array_equal(numpy_ops.integers(ours(0), 9), stateless_random.integers(theirs(0), 9))


@pytest.mark.parametrize(
    ("part", "off"),
    [
        *((PadCrop(3), 0), (PadCrop(2, "reflect"), 0), (Flip(), 0), (AlternatingFlip(), 0), (Cutout(5), 0)),
        (Affine(30, 0.2, 0.3), 0.05),  # TensorFlow computes places in float32
    ],
    ids=str,
)
@pytest.mark.parametrize("epoch", [0, 1])
def test_parts_are_the_same(part, off, epoch):
    images, index = pictures(40, 12, 10), np.arange(40)
    theirs = part(tf.constant(images), stateless_random.uniform(1, epoch, index, 0))
    ours = numpy_ops.TWINS[type(part)](part, images, numpy_ops.uniform(1, epoch, index, 0))
    np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), atol=off)
    assert (np.asarray(ours) != images).any()


@pytest.mark.parametrize(
    ("shape", "size", "crop"),
    [
        *(((8, 8), 32, 1.0), ((40, 40), 16, 1.0), ((30, 50), 16, 0.875), ((16, 16), 16, 1.0), ((31, 17), 24, 1.0)),
        *(
            ((60, 45), 24, EvalTransform(24, 27)),
            ((60, 45), 24, EvalTransform(24, 27, "bicubic")),
            ((20, 33), 24, EvalTransform(24, 25)),
        ),
    ],
    ids=str,
)
def test_sizes_are_the_same(shape, size, crop):
    images = pictures(3, *shape)
    ours, theirs = (
        numpy_ops.resize_and_crop(images, size, crop),
        np.asarray(pipeline.resize_and_crop(images, size, crop)),
    )
    assert (ours.dtype, ours.shape) == (np.uint8, theirs.shape)
    off = np.abs(ours.astype(int) - theirs)
    assert off.max() <= 1
    assert off.mean() < 0.05  # sums that end half-way between two levels, in another order


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (3, 3)])
def test_channels_are_the_same(before, after):
    images = pictures(2, 5, 5, before).astype(np.float32)
    theirs = pipeline.with_channels(tf.constant(images), after)
    np.testing.assert_allclose(numpy_ops.with_channels(images, after), theirs, rtol=1e-5)


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order():
    stream = numpy_pipeline.train_batches(SPLIT, **OPTIONS, epochs=2)
    assert len(stream) == 8
    orders = [np.concatenate([pixel_sums(stream[i][0]) for i in range(e * 4, e * 4 + 4)]) for e in (0, 1)]
    for order in orders:
        assert len(set(order)) == 20
    assert list(orders[0]) != list(orders[1])


def pixel_sums(images) -> list:
    return np.asarray(images, float).sum(axis=(1, 2, 3)).round(3).tolist()


def test_a_stream_taken_up_is_the_rest_of_the_unbroken_one():
    options = OPTIONS | {"augment": (PadCrop(2), Flip(), Affine()), "epochs": 3}
    whole = numpy_pipeline.train_batches(SPLIT, **options)
    rest = numpy_pipeline.train_batches(SPLIT, **options, first_epoch=1, first_step=2)
    assert len(rest) == len(whole) - 6
    for ours, theirs in zip(rest, list(whole)[6:], strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_a_batch_is_named_and_is_the_one_of_tensorflow_for_its_images():
    options = OPTIONS | {"augment": (PadCrop(2), Flip())}
    images, labels = numpy_pipeline.train_batches(SPLIT, **options, epochs=2)[6]
    index = numpy_pipeline.batch_indices(len(SPLIT), 5, 3, 1, 2)
    np.testing.assert_array_equal(labels, SPLIT.labels[index])
    by_tensorflow = tf.constant(SPLIT.images.array[index])
    for position, part in enumerate(options["augment"]):
        by_tensorflow = part(by_tensorflow, stateless_random.uniform(3, 1, np.array(index), position))
    np.testing.assert_allclose(images, TORCH(np.asarray(by_tensorflow)), atol=1e-5)


def test_measuring_batches_are_the_same():
    options = {k: v for k, v in OPTIONS.items() if k != "seed"} | {"size": 8, "crop": 0.875}
    ours, theirs = numpy_pipeline.eval_batches(SPLIT, **options), pipeline.eval_batches(SPLIT, **options)
    assert len(ours) == len(theirs) == 5
    for (a, x), (b, y) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=0.02)  # a level is 0.017
        np.testing.assert_array_equal(x, y)


def test_smoothed_labels_are_the_same():
    stream = numpy_pipeline.train_batches(SPLIT, **OPTIONS, epochs=1)
    found = numpy_pipeline.soft_labels(stream, 7, 0.2, None, 3, 0)[1][1]
    theirs = soft_labels(tf.data.Dataset.from_tensors(stream[1]), 7, 0.2, None, 3, 0)
    np.testing.assert_allclose(found, next(iter(theirs))[1], atol=1e-7)


def test_what_is_lacking_is_named():
    assert numpy_pipeline.unsupported(SPLIT, (PadCrop(), Flip())) is None
    assert numpy_pipeline.unsupported(SPLIT, (InceptionCrop(), Flip()), Mixup()) == "InceptionCrop, mix"
    assert "not in memory" in numpy_pipeline.unsupported(Split(Encoded((b"",)), np.zeros(1)))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16"])
def test_files_are_opened_alike(tmp_path, mode):
    image, path = Image.fromarray(pictures(1, 9, 14)[0]), str(tmp_path / "a.png")
    deep = Image.fromarray(pictures(1, 9, 14, 1)[0, ..., 0].astype(np.uint16) * 257)
    (deep if mode == "I;16" else image.convert(mode)).save(path)
    ours, theirs = numpy_ops.read_image(path), Files((path,))[0]
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("turn", range(1, 9))
def test_turned_files_are_opened_alike(tmp_path, turn):
    path, mark = str(tmp_path / "a.png"), Image.Exif()
    mark[0x0112] = turn
    Image.fromarray(pictures(1, 9, 14)[0]).save(path, exif=mark)
    ours, reason, found = folder.read(path, numpy_ops.read_image)
    assert (reason, found) == (None, turn)
    np.testing.assert_array_equal(ours, folder.read(path)[0])


class Waits:
    data_wait_seconds = 0.0


def test_batches_come_ahead_and_errors_with_them():
    def broken():
        yield (np.ones(2),)
        raise OSError("gone")

    model = Waits()
    stream = prefetch(broken(), model)
    np.testing.assert_array_equal(next(stream)[0], np.ones(2))
    with pytest.raises(OSError, match="gone"):
        next(stream)
    assert model.data_wait_seconds > 0
    stream = prefetch(iter([(np.zeros(1),)] * 100), model)
    next(stream)
    stream.close()  # its thread ends with it


def test_a_short_batch_is_filled_up_and_does_not_count():
    batches = PaddedBatches(
        numpy_pipeline.eval_batches(SPLIT, **{k: v for k, v in OPTIONS.items() if k != "seed"}), 5
    )
    for _ in range(2):
        images, labels, counted = [batches[i] for i in range(len(batches))][-1]
        assert (images.shape[0], labels.shape, counted.tolist()) == (5, (5,), [1, 1, 1, 0, 0])
