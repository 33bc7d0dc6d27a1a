"""Sources: what is read, and one clear line for everything that cannot be."""

import gzip
import struct

import numpy as np
import pytest

from training.data import sources
from training.data.sources import load
from training.data.storage import Encoded, Files, Pixels
from training.errors import DataError


def refusal(spec, **options):
    with pytest.raises(DataError) as error:
        load(str(spec), **options)
    text = str(error.value)
    assert "\n" not in text
    return text


def everything(data):
    return [split.images.array for split in (data.train, data.val, data.test)]


# --- names and digits -------------------------------------------------------------------------------------------


def test_digits():
    data = load("digits")
    assert [len(s) for s in (data.train, data.val, data.test)] == [1257, 180, 360]
    assert data.image_shape == (8, 8, 1)
    assert data.classes == tuple("0123456789")
    assert data.mirror is False
    assert {int(v) for a in everything(data) for v in np.unique(a)} == {round(v * 255 / 16) for v in range(17)}
    for split in (data.val, data.test):
        assert np.ptp(np.bincount(split.labels)) <= 2
    rows = {image.tobytes() for array in everything(data) for image in array}
    assert len(rows) == 1797  # no image of the set stands there twice, so none is in two splits


def test_a_path_comes_before_the_word(photo_folder, monkeypatch, tmp_path):
    photo_folder(10, "digits")
    monkeypatch.chdir(tmp_path)
    assert load("digits").classes == ("cat", "dog")


def test_missing_paths_and_odd_files(tmp_path):
    hint = "--data takes a path, digits, or the name of a TFDS data set"
    assert refusal("./nowhere") == f"no folder or .npz file './nowhere'; {hint}"
    assert refusal(tmp_path / "gone") == f"no folder or .npz file '{tmp_path / 'gone'}'; {hint}"
    assert refusal("gone.npz") == f"no folder or .npz file 'gone.npz'; {hint}"
    assert refusal("") == f"no folder or .npz file ''; {hint}"
    (tmp_path / "data.csv").write_text("1,2")
    text = refusal(tmp_path / "data.csv")
    assert text == f"{tmp_path / 'data.csv'}: a data file must be an .npz archive, got .csv"


# --- IDX --------------------------------------------------------------------------------------------------------


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path, pictures):
    def make(name="mnist", dotted=False, packed=True):
        folder = tmp_path / name
        folder.mkdir()
        for split, n in (("train", 40), ("t10k", 20)):
            images = pictures(n, 6, 5, 1, seed=n)[..., 0]
            for what, array in (("images-idx3", images), ("labels-idx1", (np.arange(n) % 10).astype(np.uint8))):
                file = f"{split}-{what.replace('-', '.') if dotted else what}-ubyte"
                data = idx_bytes(array)
                (folder / (file + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)
        return folder

    return make


@pytest.mark.parametrize(("dotted", "packed"), [(False, True), (False, False), (True, False), (True, True)])
def test_idx(idx_folder, pictures, dotted, packed):
    data = load(str(idx_folder(dotted=dotted, packed=packed)))
    assert [len(s) for s in (data.train, data.val, data.test)] == [30, 10, 20]
    assert data.image_shape == (6, 5, 1)
    assert data.classes == tuple("0123456789")
    assert data.mirror is False
    np.testing.assert_array_equal(data.test.images.array, pictures(20, 6, 5, 1, seed=20))


def test_idx_fashion(idx_folder):
    data = load(str(idx_folder("fashion-mnist")))
    assert data.mirror is True
    assert data.classes[0] == "T-shirt/top"
    assert data.classes[9] == "Ankle boot"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-7], "truncated; the header says 1,200 bytes (40, 6, 5), got 1,193"),
        (lambda b: b + b"xx", "too long; the header says 1,200 bytes (40, 6, 5), got more"),
        (lambda b: b[:9], "truncated within its header"),
        (lambda b: b"", "not an IDX file of unsigned bytes; it starts with 0x"),
        (lambda b: b"<html>", "not an IDX file of unsigned bytes; it starts with 0x3c68746d"),
        (lambda b: b[:4] + b"\xff" * 12 + b[16:], "its header says 79,228,162,458,924,105,385,300,197,375 bytes"),
        (lambda b: b[:6] + b"\x10" + b[7:], "truncated; the header says"),
    ],
)
def test_idx_damage(idx_folder, change, message):
    folder = idx_folder(packed=False)
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(change(file.read_bytes()))
    assert refusal(folder).startswith(f"{file}: {message}")


def test_idx_other_faults(idx_folder):
    folder = idx_folder()
    images, labels = folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz"
    whole = images.read_bytes()
    images.write_bytes(whole[: len(whole) // 2])
    assert refusal(folder).startswith(f"{images}: damaged or unreadable (")
    images.write_bytes(whole)
    good = labels.read_bytes()
    labels.write_bytes(gzip.compress(idx_bytes(np.zeros(39, np.uint8))))
    assert refusal(folder) == f"{labels}: labels of 40 images must have that length, got shape (39,)"
    labels.write_bytes(good)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    text = refusal(folder)
    assert text == f"{folder}: IDX data must have four files; t10k-labels-idx1-ubyte(.gz) is missing"


# --- npz --------------------------------------------------------------------------------------------------------


@pytest.fixture
def npz(tmp_path):
    def make(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return make


def test_npz_layouts(npz, pictures):
    x, y = pictures(40, 5, 6), np.arange(40) % 2
    data = load(str(npz(x=x, y=y)))
    assert [len(s) for s in (data.train, data.val, data.test)] == [28, 4, 8]
    assert data.mirror is False
    assert "not mirrored" in data.origin
    data = load(str(npz(images=x[..., 0], labels=y[:, None], classes=np.array(["cat", "dog"]))))
    assert data.classes == ("cat", "dog")
    assert data.image_shape == (5, 6, 1)
    data = load(str(npz(x_train=x, y_train=y, x_test=x[:6], y_test=y[:6])))
    assert [len(s) for s in (data.train, data.val, data.test)] == [36, 4, 6]
    data = load(str(npz(x_train=x, y_train=y, x_val=x[:5], y_val=y[:5], x_test=x[:6], y_test=y[:6])))
    assert [len(s) for s in (data.train, data.val, data.test)] == [40, 5, 6]
    np.testing.assert_array_equal(data.train.images.array, x)


def test_npz_floats_are_scaled(npz, pictures):
    x, y = pictures(40), np.arange(40) % 2
    data, scaled = load(str(npz(x=x, y=y))), load(str(npz(x=(x / 255).astype(np.float32), y=y)))
    np.testing.assert_array_equal(data.train.images.array, scaled.train.images.array)
    assert "floats in [0, 1] were scaled to 0-255" in scaled.origin


ZEROS = np.zeros((4, 5, 5, 3), np.uint8)
HALF = np.array([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": ZEROS}, "the keys must be (x_train, y_train, x_val, y_val, x_test, y_test) or (x_train, y_train, "
         "x_test, y_test) or (x, y) or (images, labels), and optionally classes, got (x)"),
        ({"x": ZEROS[..., :2], "y": HALF}, "x must be (n, h, w) or (n, h, w, 1 or 3), got (4, 5, 5, 2)"),
        ({"x": ZEROS[0, 0], "y": HALF}, "x must be (n, h, w) or (n, h, w, 1 or 3), got (5, 3)"),
        ({"x": ZEROS[:0], "y": HALF[:0]}, "x must be (n, h, w) or (n, h, w, 1 or 3), got (0, 5, 5, 3)"),
        ({"x": ZEROS, "y": HALF[:3]}, "y must have the length of x, 4, got 3"),
        ({"x": ZEROS, "y": HALF / 2}, "y must be integers (n,) or (n, 1), got float64 (4,)"),
        ({"x": ZEROS, "y": np.eye(4, dtype=int)}, "y must be integers (n,) or (n, 1), got int64 (4, 4)"),
        ({"x": ZEROS, "y": HALF - 1}, "labels must start at 0, got -1 to 0 in y"),
        ({"x": ZEROS.astype(int), "y": HALF}, "x must be uint8, or floats in [0, 1], got int64"),
        ({"x": ZEROS + 2.0, "y": HALF}, "floats in x must be in [0, 1], got 2 to 2 (give 0-255 as uint8)"),
        ({"x": ZEROS * np.nan, "y": HALF},
         "floats in x must be in [0, 1], got nan to nan (give 0-255 as uint8)"),
        ({"x_train": ZEROS, "y_train": HALF, "x_test": ZEROS[:, :4], "y_test": HALF},
         "all images must have one shape, got x_train (5, 5, 3), x_test (4, 5, 3)"),
        ({"x": ZEROS, "y": HALF, "classes": np.array(["a", "a"])},
         "classes must be 2 different names (text), got <U1 (2,)"),
    ],
)  # fmt: skip
def test_npz_refusals(npz, arrays, message):
    path = npz(**arrays)
    assert refusal(path) == f"{path}: {message}"


def test_npz_class_refusals(npz):
    x = np.zeros((20, 2, 2), np.uint8)
    assert refusal(npz(x=x, y=np.arange(20) % 2 * 2)) == "data: every class needs training images; '1' has none"
    assert refusal(npz(x=x, y=np.zeros(20, int))) == "data: a classifier needs at least two classes, got 1"


def test_npz_files(npz, tmp_path):
    path = npz(x=np.array([{"code": "runs"}], object), y=HALF)
    assert refusal(path).startswith(f"{path}: no readable .npz archive of plain arrays (")
    path.write_bytes(b"PK no archive")
    assert refusal(path).startswith(f"{path}: no readable .npz archive of plain arrays (")
    np.save(tmp_path / "one.npy", ZEROS)
    (tmp_path / "one.npy").rename(path)
    assert refusal(path).startswith(f"{path}: no readable .npz archive of plain arrays (")


# --- folders ----------------------------------------------------------------------------------------------------


def test_folder(photo_folder, save, pictures):
    folder = photo_folder(10)
    save(folder / "cat" / "deep" / "er" / "one.JPG", pictures(1)[0])
    (folder / "cat" / ".hidden.png").write_bytes(b"no image")
    (folder / ".git").mkdir()
    (folder / "dog" / "notes.txt").write_text("no image")
    data = load(str(folder))
    assert data.classes == ("cat", "dog")
    assert sum(len(s) for s in (data.train, data.val, data.test)) == 21
    assert [len(s) for s in (data.val, data.test)] == [3, 5]
    assert data.image_shape == (12, 12, 3)
    assert isinstance(data.train.images, Pixels)
    assert data.mirror is True
    assert data.skipped == ()
    assert "1 other files ignored" in data.origin


def test_folder_pixels_are_the_files(photo_folder, pictures):
    folder = photo_folder(4)
    data = load(str(folder))
    seen = sorted(image.tobytes() for array in everything(data) for image in array)
    wanted = [pictures(1, seed=100 * label + i)[0].tobytes() for label in (0, 1) for i in range(4)]
    assert seen == sorted(wanted)


def test_folder_with_its_own_splits(photo_folder, tmp_path):
    for split, n in (("train", 10), ("valid", 4), ("test", 3)):
        photo_folder(n, f"set/{split}")
    data = load(str(tmp_path / "set"))
    assert [len(s) for s in (data.train, data.val, data.test)] == [20, 8, 6]
    photo_folder(10, "two/train")
    photo_folder(3, "two/test")
    data = load(str(tmp_path / "two"))
    assert [len(s) for s in (data.train, data.val, data.test)] == [18, 2, 6]


def test_folder_formats(tmp_path, pictures, save):
    for kind in "ab":
        for i, suffix in enumerate(("png", "bmp", "gif", "jpeg", "PNG", "jpg")):
            image = pictures(1, 8, 9 + i)[0]
            save(tmp_path / "set" / kind / f"{i}.{suffix}", image[..., 0] if suffix == "PNG" else image)
    data = load(str(tmp_path / "set"))
    assert isinstance(data.train.images, Files)
    assert data.image_shape == (None, None, 3)
    for split in (data.train, data.val, data.test):
        for i in range(len(split)):
            assert split[i][0].shape[0] == 8
            assert split[i][0].shape[2] == 3
    mean, std = data.mean_std()
    assert len(mean) == len(std) == 3


def test_unreadable_images_are_left_out_and_listed(photo_folder):
    folder = photo_folder(100)
    bad = folder / "cat" / "000.png"
    bad.write_bytes(b"")
    data = load(str(folder))
    assert data.skipped == ((str(bad), "empty file"),)
    assert sum(len(s) for s in (data.train, data.val, data.test)) == 199
    assert "1 unreadable images left out" in data.origin


def test_too_many_unreadable_images(photo_folder, save, pictures, monkeypatch):
    folder = photo_folder(10)
    cat = folder / "cat"
    whole = (cat / "000.png").read_bytes()
    (cat / "000.png").write_bytes(whole[: len(whole) // 2])
    (cat / "001.jpg").write_text("<html>404</html>")
    save(cat / "002.tiff", pictures(1)[0]).rename(cat / "002.jpg")
    save(cat / "003.bmp", pictures(1, 200, 200)[0])
    monkeypatch.setattr("training.data.folder.MAX_PIXELS", 10_000)
    text = refusal(folder)
    assert text == (
        f"{folder}: at most 1 % of the images may be unreadable, got 4 of 23: "
        f"{cat}/000.png (truncated or damaged), {cat}/001.jpg (no image inside), "
        f"{cat}/002.jpg (TIFF is not JPEG, PNG, BMP or GIF), {cat}/003.bmp (200x200 is more than 10,000 pixels)"
    )
    for path in (folder / "dog").iterdir():
        path.write_bytes(b"x")
    assert "and 4 more" in refusal(folder)
    assert "14 of 23" in refusal(folder)


def test_folder_refusals(photo_folder, save, pictures, tmp_path):
    rule = "images must be in one folder per class (DIR/cat/1.jpg)"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal(empty) == f"{empty}: {rule}, got no folder inside"
    save(empty / "one.png", pictures(1)[0])
    assert refusal(empty) == f"{empty}: {rule}, got images directly in the folder"
    save(empty / "cat" / "one.png", pictures(1)[0])
    assert refusal(empty) == f"{empty}: a classifier needs at least two classes, got only 'cat'"
    folder = photo_folder(3)
    (folder / "emu").mkdir()
    assert refusal(folder) == f"{folder / 'emu'}: the class 'emu' has no images (.jpg, .jpeg, .png, .bmp, .gif)"
    photo_folder(3, "set/train")
    photo_folder(3, "set/test")
    (tmp_path / "set" / "train" / "emu").mkdir()
    split = tmp_path / "set"
    assert refusal(split) == f"{split}: all splits need the same classes; 'emu' is missing in test"


# --- TensorFlow Datasets ----------------------------------------------------------------------------------------


@pytest.fixture
def prepared(tmp_path, pictures):
    """Prepares a small data set for real and returns (its name, its data_dir)."""

    def make(name, shape=(6, 6, 3), splits=(("train", 40), ("test", 10)), labels=3, ragged=0, features=None):
        import tensorflow_datasets as tfds

        set_name = name

        class HandMade(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version("1.0.0")
            name = set_name

            def _info(self):
                found = {
                    "image": tfds.features.Image(shape=shape),
                    "label": tfds.features.ClassLabel(num_classes=labels),
                    "note": tfds.features.Text(),
                }
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features or found))

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(split, n) for split, n in splits}

            def _generate_examples(self, split, n):
                for i in range(n):
                    image = pictures(1, 6 + ragged * (i % 3), 6, shape[-1], seed=i)[0]
                    example = {"image": image, "label": i % labels, "note": split}
                    yield i, {key: example[key] for key in features or example}

        HandMade(data_dir=tmp_path / "tfds").download_and_prepare()
        return name, str(tmp_path / "tfds")

    return make


def test_tfds_fixed_shape(prepared, pictures):
    name, data_dir = prepared("tiny_photos")
    data = load(name, data_dir=data_dir)
    assert [len(s) for s in (data.train, data.val, data.test)] == [36, 4, 10]
    assert isinstance(data.train.images, Pixels)
    assert data.image_shape == (6, 6, 3)
    assert data.classes == ("0", "1", "2")
    assert data.mirror is True
    seen = sorted(image.tobytes() for image in data.test.images.array)
    assert seen == sorted(pictures(1, 6, 6, seed=i)[0].tobytes() for i in range(10))
    again = load(name, data_dir=data_dir)
    np.testing.assert_array_equal(data.train.images.array, again.train.images.array)
    np.testing.assert_array_equal(data.train.labels, again.train.labels)


def test_tfds_varying_shape_and_one_split(prepared):
    name, data_dir = prepared("my_digits", (None, None, 1), (("train", 40),), ragged=2)
    data = load(name, data_dir=data_dir)
    assert [len(s) for s in (data.train, data.val, data.test)] == [28, 4, 8]
    assert isinstance(data.train.images, Encoded)
    assert data.image_shape == (None, None, 1)
    assert {data.train[i][0].shape for i in range(28)} == {(6, 6, 1), (8, 6, 1), (10, 6, 1)}
    assert data.mirror is False


def test_tfds_validation_acts_as_test_where_test_has_no_labels(prepared, monkeypatch):
    splits = (("train", 40), ("validation", 12), ("test", 6))
    name, data_dir = prepared("tiny_imagenet", splits=splits)
    monkeypatch.setattr("training.data.tfds.UNLABELLED_TEST", ("tiny_imagenet",))
    assert [len(s) for s in three(load(name, data_dir=data_dir))] == [36, 4, 12]


def test_tfds_own_splits(prepared):
    name, data_dir = prepared("tiny_three", splits=(("train", 40), ("validation", 12), ("test", 6)))
    assert [len(s) for s in three(load(name, data_dir=data_dir))] == [40, 12, 6]


def three(data):
    return data.train, data.val, data.test


def test_tfds_too_large(prepared, monkeypatch):
    name, data_dir = prepared("tiny_large", (None, None, 3))
    monkeypatch.setattr("training.data.storage.os.sysconf", lambda name: 30)
    text = refusal(name, data_dir=data_dir)
    assert text.startswith("data set 'tiny_large': images must fill at most a third of the memory")


def test_tfds_features(prepared):
    import tensorflow_datasets as tfds

    name, data_dir = prepared("tiny_text", features={"note": tfds.features.Text()})
    text = refusal(name, data_dir=data_dir)
    assert text == "data set 'tiny_text' must have the features image and label, got note"
    name, data_dir = prepared(
        "tiny_number", features={"image": tfds.features.Image(shape=(6, 6, 3)), "label": np.int64}
    )
    text = refusal(name, data_dir=data_dir)
    assert text.startswith("data set 'tiny_number': label must be one class per image, got ")


def test_unknown_names():
    text = refusal("cifa10")
    assert text.startswith("no data set 'cifa10'; did you mean 'cifar10'? (")
    assert text.endswith(
        " known: digits, tensorflow.org/datasets/catalog); there is no file or folder of that name either"
    )
    assert "did you mean 'cifar10'" in refusal("cifar-10")
    assert "did you mean 'digits'" in refusal("digit")
    assert refusal("huggingface:user/set").startswith("no folder or .npz file 'huggingface:user/set'")


def test_no_network(tmp_path, monkeypatch):
    def nothing(*_):
        raise OSError("Name or service not known")

    monkeypatch.setattr("training.data.tfds.socket.getaddrinfo", nothing)
    monkeypatch.setattr("training.data.tfds.getproxies", dict)
    monkeypatch.setattr("training.data.tfds.url_infos", lambda builder: ["https://example.org/a.gz"])
    text = refusal("mnist", data_dir=str(tmp_path))
    assert text.startswith(
        f"data set 'mnist' is not prepared in {tmp_path}/mnist/3.0.1 and there is no network to "
    )
    assert "download it (example.org cannot be found); if it is prepared elsewhere, give that" in text
    assert "TFDS_DATA_DIR" in text


def test_a_failed_download(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def fails(*_, **__):
        raise ConnectionError("the line is dead\nand has a second line")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fails)
    monkeypatch.setattr("training.data.tfds.url_infos", lambda builder: [])
    text = refusal("mnist", data_dir=str(tmp_path))
    assert "preparing or downloading it failed (ConnectionError: the line is dead)" in text
    assert "TFDS_DATA_DIR" in text


def test_the_modules_import_nothing_heavy():
    import subprocess
    import sys

    # What Keras itself brings along (TensorFlow, and PIL or scikit-learn where they are installed) is not ours.
    code = f"import sys, keras_cnns; old = set(sys.modules); import {sources.__name__}, training.data.pipeline; "
    done = subprocess.run(
        [sys.executable, "-c", code + "print(*set(sys.modules) - old)"], capture_output=True, text=True, check=True
    )
    ours = {name.partition(".")[0] for name in done.stdout.split()}
    assert "training" in ours
    assert not {"tensorflow", "sklearn", "tensorflow_datasets", "PIL", "matplotlib"} & ours
