"""Batches: what comes is a function of (seed, epoch, place), whatever ran before and however it is stored."""

from pathlib import Path

import numpy as np
import pytest

from keras_cnns.preprocessing import UNIT, Preprocessing
from training.data.augment import Affine, AlternatingFlip, Flip, InceptionCrop, PadCrop, ScaleCrop, Window
from training.data.colour import ColourJitter, PCANoise
from training.data.dataset import DataSet, Split
from training.data.erasing import RandomErasing
from training.data.folder import load
from training.data.pipeline import (
    batch_indices,
    conversions,
    decode_window,
    eval_batches,
    read_cropped,
    steps_per_epoch,
    train_batches,
    untouched,
)
from training.data.policies import AutoAugment
from training.data.storage import Encoded, Files, Pixels

PARTS = (PadCrop(2), Flip(), Affine())
MORE = (ScaleCrop(1.0, 2.0), Flip(), AutoAugment("cifar"), ColourJitter(), PCANoise(), RandomErasing())


def numbered(n, size=4):
    """Image i has the value i everywhere, so that a batch tells which images it holds."""
    array = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, size, size, 1)).copy()
    return Split(Pixels(array), np.arange(n) % 5)


def stream(split, **changes):
    asked = {
        "size": 4,
        "channels": 1,
        "batch_size": 4,
        "seed": 1,
        "epochs": 3,
        "augment": (),
        "preprocess": untouched,
    }
    return list(train_batches(split, **{**asked, **changes}).as_numpy_iterator())


def ids(batches):
    return [images[:, 0, 0, 0].astype(int).tolist() for images, _ in batches]


def equal(ones, others):
    assert len(ones) == len(others) > 0
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


# --- order ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "batch"), [(20, 4), (22, 4), (3, 4), (4, 4), (5, 4), (7, 1)])
def test_every_epoch_is_a_permutation(n, batch):
    rows = ids(stream(numbered(n), batch_size=batch))
    steps = steps_per_epoch(n, batch)
    assert len(rows) == 3 * steps
    assert {len(row) for row in rows} == {min(n, batch)}
    epochs = [np.concatenate(rows[e * steps : (e + 1) * steps]).tolist() for e in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == steps * min(n, batch)
    if n >= 20:
        assert epochs[0] != epochs[1] != epochs[2]
        assert all(epoch != sorted(epoch) for epoch in epochs)


def test_labels_follow_their_images():
    for images, labels in stream(numbered(20)):
        np.testing.assert_array_equal(images[:, 0, 0, 0] % 5, labels)
        assert labels.dtype == np.int32


def test_bytes_stay_bytes_until_a_part_needs_floats():
    kinds = {p: next(iter(stream(numbered(8), augment=p)))[0].dtype for p in ((), PARTS[:2], (ColourJitter(),))}
    assert list(kinds.values()) == [np.uint8, np.uint8, np.float32]


def test_orders_are_shuffled_well():
    rows = stream(numbered(250), batch_size=250, epochs=20)
    orders = np.array(ids(rows))
    neighbours = [np.corrcoef(order[:-1], order[1:])[0, 1] for order in orders]
    assert np.abs(neighbours).max() < 5 / 250**0.5
    assert np.abs(np.corrcoef(orders) - np.eye(20)).max() < 5 / 250**0.5


@pytest.mark.parametrize("parts", [PARTS, (InceptionCrop(), Flip())])
def test_a_resumed_stream_is_the_rest_of_the_unbroken_one(pictures, parts):
    split = Split(Pixels(pictures(22)), np.arange(22) % 2)
    asked = {"size": 8, "channels": 3, "epochs": 4, "augment": parts}
    whole = stream(split, **asked)
    equal(stream(split, **asked, first_epoch=2), whole[10:])
    equal(stream(split, **asked, first_epoch=2, first_step=3), whole[13:])
    equal(stream(split, **asked), whole)


def test_length_is_known_and_shapes_are_static():
    batches = train_batches(numbered(22), size=4, channels=1, batch_size=4, seed=0, epochs=3, preprocess=untouched)
    assert len(batches) == 15
    assert batches.element_spec[0].shape == (4, 4, 4, 1)
    batches = eval_batches(numbered(22), size=4, channels=1, batch_size=4, preprocess=untouched)
    assert len(batches) == 6
    assert batches.element_spec[0].shape == (None, 4, 4, 1)


# --- augmentation -----------------------------------------------------------------------------------------------


def by_label(batches):
    return {int(label): image for images, labels in batches for image, label in zip(images, labels, strict=True)}


@pytest.mark.parametrize("parts", [PARTS, (InceptionCrop(), Flip()), MORE])
def test_augmentation_belongs_to_the_image_not_to_the_batch(pictures, parts):
    split = Split(Pixels(pictures(24)), np.arange(24))
    asked = {"size": 12, "channels": 3, "augment": parts, "epochs": 1}
    ones, others = (by_label(stream(split, batch_size=b, **asked)) for b in (3, 8))
    assert sorted(ones) == sorted(others) == list(range(24))
    for label, image in ones.items():
        np.testing.assert_array_equal(image, others[label])


def test_epochs_and_seeds_augment_differently(pictures):
    split = Split(Pixels(pictures(8)), np.arange(8))
    asked = {"size": 12, "channels": 3, "augment": PARTS, "batch_size": 8}
    first, second = stream(split, epochs=2, **asked)
    other = stream(split, epochs=1, seed=2, **asked)
    first, second, other = by_label([first]), by_label([second]), by_label(other)
    assert not any(np.array_equal(first[i], second[i]) for i in first)
    assert not any(np.array_equal(first[i], other[i]) for i in first)


def test_refusals():
    with pytest.raises(ValueError, match="must be the first augmentation"):
        stream(numbered(4), augment=(Flip(), InceptionCrop()))
    with pytest.raises(ValueError, match="ScaleCrop chooses what is decoded"):
        stream(numbered(4), augment=(InceptionCrop(), ScaleCrop()))
    with pytest.raises(ValueError, match="channels must be 1 or 3, got 4"):
        stream(numbered(4), channels=4)
    with pytest.raises(ValueError, match="crop, the kept fraction of the side, must be above 0 and at most 1"):
        eval_batches(numbered(4), size=4, channels=1, batch_size=2, preprocess=untouched, crop=0)


# --- storage ----------------------------------------------------------------------------------------------------


def stored(folder):
    """The same images decoded in memory, in files and encoded in memory."""
    split = load(folder).train
    paths = sorted(str(p) for p in folder.rglob("*.png"))
    if isinstance(split.images, Pixels):
        assert len(paths) > len(split)
    files = Files(tuple(paths))
    array = np.stack([files[i] for i in range(len(files))])
    labels = np.arange(len(paths))
    encoded = Encoded(tuple(Path(path).read_bytes() for path in paths))
    return [Split(images, labels) for images in (Pixels(array), files, encoded)]


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (12, ()),
        (7, ()),
        (20, PARTS),
        (7, (InceptionCrop(), Flip())),
        (20, (ScaleCrop(1.0, 2.0), PCANoise())),
    ],
)
def test_files_and_memory_give_identical_batches(photo_folder, size, parts):
    splits = stored(photo_folder(5))
    asked = {"size": size, "channels": 3, "augment": parts, "epochs": 1}
    memory, files, encoded = (stream(split, **asked) for split in splits)
    equal(memory, files)
    equal(memory, encoded)


@pytest.mark.parametrize("crop", [1.0, 0.875])
def test_files_and_memory_evaluate_identically(photo_folder, crop, monkeypatch):
    splits = stored(photo_folder(5))
    asked = {"size": 9, "channels": 3, "batch_size": 4, "preprocess": untouched, "crop": crop}
    memory, files, encoded = (list(eval_batches(s, **asked).as_numpy_iterator()) for s in splits)
    equal(memory, files)
    equal(memory, encoded)
    assert [len(labels) for _, labels in memory] == [4, 4, 2]
    assert np.concatenate([labels for _, labels in memory]).tolist() == list(range(10))
    monkeypatch.setattr("training.data.pipeline.RESIZED_MEMORY", 0)
    equal(memory, list(eval_batches(splits[0], **asked).as_numpy_iterator()))


def test_ragged_images_and_jpegs_run(photo_folder):
    for suffix in ("png", "jpg"):
        data = load(photo_folder(10, suffix, ragged=5, suffix=suffix))
        assert data.image_shape == (None, None, 3)
        assert isinstance(data.train.images, Files)
        for parts in ((InceptionCrop(), Flip()), (PadCrop(2),)):
            images, labels = stream(data.train, size=8, channels=3, augment=parts)[0]
            assert images.shape == (4, 8, 8, 3)
            assert labels.shape == (4,)
            assert images.std() > 1


@pytest.mark.parametrize(("side", "fraction"), [(9, 8), (10, 8), (19, 4), (40, 2), (41, 1), (90, 1)])
def test_a_window_much_too_large_is_decoded_smaller(side, fraction, tmp_path, monkeypatch):
    """80 pixels of a JPEG are decoded at the smallest fraction that still has `side` of them; they look alike."""
    import tensorflow as tf
    from PIL import Image

    asked = []
    monkeypatch.setattr(
        "training.data.pipeline.decode_window",
        lambda data, window, by, channels: asked.append(by) or decode_window(data, window, by, channels),
    )
    waves = 128 + 100 * np.sin(
        np.arange(120)[:, None, None] / 20 + np.arange(160)[None, :, None] / 15 + np.arange(3)
    )
    Image.fromarray(waves.astype(np.uint8)).save(tmp_path / "waves.jpg", quality=95)
    window, jpeg = Fixed((16, 24, 80, 88)), Files((str(tmp_path / "waves.jpg"),), 3)
    small = read_cropped(jpeg, tf.constant(0), side, window, None).numpy().astype(int)
    assert asked == [fraction]
    decoded = tf.io.decode_jpeg(jpeg.read(tf.constant(0))).numpy()[None]
    whole = read_cropped(Pixels(decoded), tf.constant(0), side, window, None).numpy()
    assert np.abs(small - whole).max() <= 8
    assert np.abs(small - whole).mean() <= 3


class Fixed(Window):
    def __init__(self, place):
        object.__setattr__(self, "place", place)

    def window(self, height, width, draw):
        import tensorflow as tf

        return tf.constant(self.place)


def test_the_middle_is_cropped():
    image = np.zeros((1, 8, 16, 1), np.uint8)
    image[:, :, 4:12] = 255
    split = Split(Pixels(image), [0])
    ((images, _),) = eval_batches(
        split, size=8, channels=1, batch_size=1, preprocess=untouched
    ).as_numpy_iterator()
    assert (images == 255).all()


def test_channels_and_preprocessing(pictures):
    grey, colour = pictures(2, channels=1), pictures(2)
    asked = {"size": 12, "batch_size": 2, "preprocess": Preprocessing((2.0,), (2.0,))}
    ((images, _),) = eval_batches(Split(Pixels(grey), [0, 1]), channels=3, **asked).as_numpy_iterator()
    np.testing.assert_array_equal(images, np.repeat(grey, 3, -1) / np.float32(2) - 1)
    ((images, _),) = eval_batches(Split(Pixels(colour), [0, 1]), channels=1, **asked).as_numpy_iterator()
    np.testing.assert_allclose(images[..., 0], colour @ [0.2989, 0.587, 0.114] / 2 - 1, rtol=1e-5)


def test_a_file_that_vanishes_fails_and_is_named(photo_folder):
    import tensorflow as tf

    from training.data.folder import unreadable

    split = load(photo_folder(10, ragged=5)).train
    assert unreadable(split) == []
    bad = split.images.items[3]
    Path(bad).write_bytes(b"no image")
    with pytest.raises(tf.errors.InvalidArgumentError):
        stream(split, size=8, channels=3)
    assert unreadable(split) == [(bad, "no image inside")]


def test_conversions_are_said():
    def said(shape, size, channels):
        split = numbered(2)
        return conversions(DataSet("x", ("a", "b"), split, split, split, shape, True, ""), size, channels)

    assert said((28, 28, 1), 32, 3) == [
        "28x28 images are resized to 32x32",
        "grey images are repeated to 3 channels",
    ]
    assert said((32, 32, 3), 32, 3) == []
    assert said((32, 32, 3), 32, 1) == ["colour images are turned to grey (luma)"]
    middle = "are resized to 64 by their shorter side and cropped to the middle"
    assert said((None, None, 3), 64, 3) == [f"images of different sizes {middle}"]
    assert said((64, 80, 3), 64, 3) == [f"64x80 images {middle}"]


def test_trains_under_a_strategy_and_with_fit():
    import keras
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(5)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    asked = {"size": 4, "channels": 1, "batch_size": 4, "preprocess": UNIT}
    batches = train_batches(numbered(10), seed=0, epochs=2, **asked)
    history = model.fit(
        batches,
        steps_per_epoch=2,
        epochs=2,
        verbose=0,
        shuffle=False,
        validation_data=eval_batches(numbered(10), **asked),
    )
    assert len(history.history["val_loss"]) == 2


def test_repeated_augmentation_shows_copies_side_by_side_and_each_otherwise():
    split = numbered(24)
    for step, batch in enumerate(ids(stream(split, batch_size=8, repeats=4, epochs=1))):
        assert batch == batch[:2] * 4
        assert batch[0] != batch[1]
        assert batch[:2] == batch_indices(24, 8, 1, 0, step, repeats=4)
    assert sum(len(set(b)) for b in ids(stream(split, batch_size=8, repeats=4, epochs=1))) == 6
    rng = np.random.default_rng(0)
    varied = Split(Pixels(rng.integers(0, 255, (24, 8, 8, 1), dtype="uint8")), np.zeros(24))
    for images, _ in stream(varied, batch_size=8, size=8, repeats=2, augment=(Affine(),), epochs=1):
        assert (images[:4] != images[4:]).any(axis=(1, 2, 3)).all()
    whole = stream(varied, batch_size=8, size=8, repeats=2, augment=PARTS)
    rest = stream(varied, batch_size=8, size=8, repeats=2, augment=PARTS, first_epoch=1, first_step=2)
    equal(whole[5:], rest)
    with pytest.raises(ValueError, match="a batch must divide by repeats=3, got 8"):
        stream(split, batch_size=8, repeats=3)


def test_an_alternating_mirror_shows_both_sides_in_two_epochs():
    pixels = np.zeros((40, 4, 4, 1), np.uint8)
    pixels[:, :, 0] = 1 + np.arange(40, dtype=np.uint8)[:, None, None]
    batches = stream(Split(Pixels(pixels), np.zeros(40)), batch_size=40, augment=(AlternatingFlip(),), epochs=4)
    turned = [{int(i.max()): bool(i[0, -1, 0]) for i in images} for images, _ in batches]
    assert turned[0] == turned[2] == {k: not v for k, v in turned[1].items()}
    assert turned[1] == turned[3]
    assert 8 < sum(turned[0].values()) < 32
