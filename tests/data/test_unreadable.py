"""Images that break after indexing: replaced, counted and named up to one in a thousand; beyond, the run ends."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from training.data import pipeline
from training.data.dataset import Split
from training.data.storage import Files
from training.data.unreadable import UnreadableImages


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """1,000 PNG files; the first pixel says which."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(1000):
        pixels = np.full((4, 4 + i % 2, 3), [i % 250, i // 250, 7], np.uint8)
        (folder / f"{i:04}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return tuple(str(folder / f"{i:04}.png") for i in range(1000))


def split_of(paths):
    return Split(Files(paths), np.arange(len(paths)))


def labels_of(stream) -> list[int]:
    """Labels in order; each image is checked to be the label's."""
    found = []
    for images, labels in stream:
        for image, label in zip(images.numpy(), labels.numpy(), strict=True):
            assert (image == [label % 250, label // 250, 7]).all()
            found.append(int(label))
    return found


def training(split, broken):
    options = {
        "size": 4,
        "channels": 3,
        "batch_size": 50,
        "seed": 3,
        "epochs": 1,
        "preprocess": pipeline.untouched,
    }
    return pipeline.train_batches(split, broken=broken, **options)


def test_one_in_a_thousand_is_replaced_by_the_same_image_in_its_place(paths):
    said, split = [], split_of(paths)
    whole = labels_of(training(split, UnreadableImages(split)))
    assert sorted(whole) == list(range(1000))
    assert whole == pipeline.permuted(1000, 3, 0).numpy().tolist(), "the order of the files is kept"
    missing = (*paths[:123], f"{paths[123]}.gone", *paths[124:])
    split = split_of(missing)
    broken = UnreadableImages(split, said.append)
    for _ in range(2):
        assert labels_of(training(split, broken)) == [(123 + 7919) % 1000 if i == 123 else i for i in whole]
    assert len(said) == 1
    assert said[0].startswith(f"can no longer be read and is replaced: {paths[123]}.gone (")
    measured = pipeline.eval_batches(
        split, size=4, channels=3, batch_size=64, preprocess=pipeline.untouched, broken=broken
    )
    assert labels_of(measured) == [(123 + 7919) % 1000 if i == 123 else i for i in range(1000)]


def test_more_end_the_run(paths, tmp_path):
    (tmp_path / "cut.png").write_bytes(Path(paths[0]).read_bytes()[:40])
    split = split_of((*paths[:-2], str(tmp_path / "cut.png"), str(tmp_path / "none.png")))
    said = []
    with pytest.raises(tf.errors.OpError, match="2 of 1000 images have become unreadable during training"):
        labels_of(training(split, UnreadableImages(split, said.append)))
    assert len(said) == 2
