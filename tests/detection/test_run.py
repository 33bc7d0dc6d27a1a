"""A run of a detector: its folder, its restart, what is measured and found with it, replicas, its command."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import forked
import keras
import numpy as np
import pytest
from PIL import Image
from small_detectors import SIDE, SMALL, decide, scenes, squares

from keras_cnns.detection import LOSSES
from training.classification.config import Config
from training.detection import exporting, metrics, pipeline, recipe, trained
from training.detection.config import DetectionConfig
from training.detection.dataset import NONE, BoxDataset, pad_boxes
from training.detection.pipeline import ResizeRule
from training.detection.task import DetectionTask
from training.engine.devices import Compute
from training.errors import RunError
from training.exporting import exporter
from training.report.folder import History, Log
from training.run_folder import config as configs
from training.run_folder.checkpoints import weights_sha256
from training.trainer.callbacks import NaNMonitor
from training.trainer.checkpoint_saver import SaveInterval
from training.trainer.trainer import train

HERE = Path(__file__).parent
ALONE = Compute("CPU", 1, "float32", False, None, "")
PLAN = replace(recipe.QUICK.scaled(2), batch_size=4, resize=ResizeRule(SIDE, SIDE), measure_every=2)


def run_in(folder, compute=ALONE, plan=PLAN, data=None):
    data = data or scenes()
    config = DetectionConfig(SMALL, plan, "squares", data.classes, 0, compute.replicas, "float32", "off")
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    configs.write(config, folder)
    return DetectionTask(config, data, compute, folder, Log(folder / "log.txt"))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    run = run_in(folder)
    with run.log:
        return folder, train(run)


def test_a_run_folder(done):
    folder, result = done
    for name in (
        "model.keras",
        "labels.txt",
        "result.json",
        "history.csv",
        "batch.png",
        "detections.png",
        "curves.png",
        "log.txt",
    ):
        assert (folder / name).stat().st_size
    assert json.loads((folder / "result.json").read_text()) == result
    assert result["test"]["n"] == 6
    rows = History(folder / "history.csv", DetectionTask.columns).rows
    assert [r["val_ap50"] is None for r in rows] == [True, False]
    for row in rows:
        assert row["loss"] == pytest.approx(sum(row[name] for name in LOSSES), rel=1e-4)


def test_the_four_losses_are_in_tensorboard(done):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(done[0] / "tensorboard" / "train")).Reload()
    assert {*LOSSES, "loss", "rate"} <= set(events.Tags()["tensors"])
    events = EventAccumulator(str(done[0] / "tensorboard" / "val")).Reload()
    assert {"ap50", "ap"} <= set(events.Tags()["tensors"])


@pytest.mark.slow
def test_a_broken_run_ends_in_the_same_weights(done, tmp_path, monkeypatch):
    steps = []
    end = NaNMonitor.on_train_batch_end

    def stop(self, batch, logs=None):
        end(self, batch, logs)
        steps.append(batch)
        if len(steps) == 6:  # in the middle of the second epoch
            raise KeyboardInterrupt

    run = replace(run_in(tmp_path), every=SaveInterval(1, None))
    monkeypatch.setattr(NaNMonitor, "on_train_batch_end", stop)
    with run.log:
        with pytest.raises(KeyboardInterrupt):
            train(run)
        result = train(run)
    assert result["weights_sha256"] == done[1]["weights_sha256"]
    own, other = (History(f / "history.csv", DetectionTask.columns).rows for f in (tmp_path, done[0]))
    assert [r["loss"] for r in own] == [r["loss"] for r in other]


def test_a_run_is_taken_up_for_use(done):
    folder, result = done
    detector = trained.from_run(folder)
    data = scenes()
    found = trained.detect_split(trained.forward(detector.model), data.test, detector.config)
    figures = metrics.measure(found, data.test, 2)
    assert figures == result["test"]
    one = detector.find(trained.forward(detector.model), data.test.images[2])
    np.testing.assert_allclose(one.boxes, found[2].boxes, atol=1e-3)
    other = detector.in_order(("dark", "bright"), data.test)
    assert (other.labels[data.test.labels != NONE] == data.test.labels[data.test.labels != NONE]).sum() == 0
    with pytest.raises(ValueError, match="does not know the class 'cat'"):
        detector.in_order(("dark", "cat"), data.test)


def test_a_run_of_another_kind_is_refused(done, tmp_path):
    with pytest.raises(ValueError, match=r"config\.json cannot be used"):
        Config.read(done[0])
    configs.write(DetectionConfig.read(done[0]), tmp_path)
    with pytest.raises(ValueError, match="is not finished"):
        trained.from_run(tmp_path)


# --- export -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def export_detector(done):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting.sources, "load", lambda *names: scenes())
        model = exporting.from_run(done[0])
    keras.utils.set_random_seed(4)  # no two scores are so near that rounding could swap them
    model.network.model.set_weights(SMALL.build(2).inference.get_weights())  # of He's rule, and then decided
    decide(model.network.model)
    return model


def export(model, out, *names):
    return exporter.export(model, tuple(exporting.FORMATS[n] for n in names), out, 1)


@pytest.fixture(scope="module")
def exported(export_detector, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "squares"
    assert export(export_detector, folder, "tflite") == ["model.tflite"]
    return folder


def test_an_export_has_hashes_labels_and_a_card(exported, export_detector):
    assert {p.name for p in exported.iterdir()} == {"model.tflite", "labels.txt", "card.md", "export.json"}
    assert (exported / "labels.txt").read_text() == "bright\ndark\n"
    record = json.loads((exported / "export.json").read_text())
    assert record["input"] == {"height": SIDE, "width": SIDE, "range": [0, 255]}
    assert record["weights_sha256"] == weights_sha256(export_detector.network.model)
    file, path = record["files"]["model.tflite"], exported / "model.tflite"
    assert file["sha256"] == {"model.tflite": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert file["bytes"] == path.stat().st_size
    assert file["images"] == 6
    assert file["worst"] <= 0.5
    card = (exported / "card.md").read_text()
    assert f"| `model.tflite` | {file['bytes'] / 1e6:.2f} MB | {file['worst']:.2g} pixels |" in card
    assert "AP50 (VOC) 0." in card
    assert f"float32 (1, {SIDE}, {SIDE}, 3)" in card
    assert "import keras_cnns.detection" not in card  # there is no model.keras


class FakeVerifier:
    """In place of two processes: raises `error` for every file."""

    def __init__(self, error):
        self.error = error

    def __call__(self, *args):
        return self

    __enter__ = __call__

    def __exit__(self, *error):
        pass

    def verify(self, form, path):
        raise self.error


def content(folder) -> dict:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("error", [RunError("a box differs"), KeyboardInterrupt()], ids=["failed", "interrupted"])
def test_an_export_that_does_not_succeed_leaves_the_old_folder(error, exported, export_detector, monkeypatch):
    before = content(exported.parent)
    monkeypatch.setattr(exporter, "Verifier", FakeVerifier(error))
    with pytest.raises(type(error), match="model.keras is not published: a box" if error.args else None):
        export(export_detector, exported, "keras")
    assert content(exported.parent) == before


def test_files_that_answer_otherwise_are_refused(export_detector):
    boxes = np.arange(24, dtype="float32").reshape(1, 6, 4)
    known = {"boxes": boxes, "scores": np.full((1, 6), 0.5), "classes": np.zeros((1, 6)), "count": np.array([3])}
    cases = {
        "finds 2 objects where the network finds 3": known | {"count": np.array([2])},
        "does not find class 0.0 with score 0.500": known | {"scores": known["scores"] + 0.006},
    }
    for message, outputs in cases.items():
        with pytest.raises(RunError, match=message):
            export_detector.compare(known, outputs)
    with pytest.raises(RunError, match=r"a box differs by 0\.60 pixels; at most 0.5 are allowed"):
        export_detector.check(None, export_detector.compare(known, known | {"boxes": boxes + 0.6}))
    close = known | {"boxes": boxes[:, [1, 0, 2, 3, 4, 5]] + 0.4, "scores": known["scores"] + 0.004}
    assert export_detector.compare(known, close)["worst"] == pytest.approx(0.4)


@pytest.mark.slow
def test_every_format_of_a_detector(exported, export_detector):
    """Files of an earlier export of the same weights stay; a file of other weights is refused."""
    files = export(export_detector, exported, "saved_model", "keras")
    assert files == ["saved_model", "model.keras"]
    record = json.loads((exported / "export.json").read_text())
    assert set(record["files"]) == {"model.tflite", *files}
    assert "import keras_cnns.detection" in (exported / "card.md").read_text()
    before = export_detector.network.model.get_weights()
    other = replace(
        exporting.FORMATS["keras"], write=lambda model, path: shutil.copy(exported / "model.keras", path)
    )
    export_detector.network.model.set_weights([w * 1.1 for w in before])
    with pytest.raises(RunError, match=r"model.keras is not published"):
        exporter.export(export_detector, (other,), exported, 1)
    assert json.loads((exported / "export.json").read_text()) == record


# --- batches ----------------------------------------------------------------------------------------------------


def mixed() -> BoxDataset:
    """Wide and high images of several sizes, each with a box of a known place; one without."""
    shapes = [(20, 30), (30, 20), (10, 40), (25, 30), (40, 10), (16, 16)]
    from training.data.storage import Encoded

    def png(h, w):
        import io

        buffer = io.BytesIO()
        Image.fromarray(np.full((h, w, 3), 200, np.uint8)).save(buffer, "png")
        return buffer.getvalue()

    truths = [([(0.1 * w, 0.2 * h, 0.6 * w, 0.9 * h)], [1], [False]) for h, w in shapes[:-1]] + [([], [], [])]
    images = Encoded(tuple(png(h, w) for h, w in shapes))
    return BoxDataset(images, np.array(shapes, np.int32), *pad_boxes(truths), tuple("abcdef"))


def as_they_are(x):
    return x


def test_batches_fit_their_canvas():
    split, fit = mixed(), ResizeRule(40, 60)
    options = {"resize": fit, "seed": 0, "mirror": False, "preprocess": as_they_are}
    batches = list(pipeline.train_batches(split, batch=2, epochs=1, **options))
    assert len(batches) == len(pipeline.train_indices(split, 2, 0, 0)) == 3
    for (images, boxes, labels, extent), again in batches:
        assert images.shape[1:] in ((40, 60, 3), (60, 40, 3))
        np.testing.assert_array_equal(labels, again)
        columns = (x.numpy() for x in (images, boxes, labels, extent))
        for image, box, label, (height, width) in zip(*columns, strict=True):
            assert (image[: int(height), : int(width)] > 150).all()
            assert not image[int(height) :].any()
            assert not image[:, int(width) :].any()
            assert min(height, width) == 40 or max(height, width) == 60
            if label[0]:
                wanted = (0.1 * width, 0.2 * height, 0.6 * width, 0.9 * height)
                np.testing.assert_allclose(box[0], wanted, rtol=1e-4)


def test_a_stream_can_be_taken_up():
    split = squares(10)
    options = {"resize": ResizeRule(SIDE, SIDE), "batch": 4, "seed": 3, "mirror": True, "preprocess": as_they_are}
    whole = [x[0] for x in pipeline.train_batches(split, epochs=3, **options)]
    rest = [x[0] for x in pipeline.train_batches(split, epochs=3, first_epoch=1, first_step=1, **options)]
    assert len(whole) == 9
    assert len(rest) == 5
    for a, b in zip(whole[4:], rest, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_an_epoch_shows_every_image():
    """Also where a batch is larger than there are images of one kind."""
    for batch in (2, 4, 5):
        plan = pipeline.train_indices(mixed(), batch, 0, 0)
        assert {len(row) for row in plan} == {batch}
        assert set(np.concatenate(plan)) == set(range(6))


def test_a_mirror_turns_boxes_along():
    """Each box of `squares` has one colour; so it must after turning, and some images are turned."""
    split = squares(12)
    options = {"resize": ResizeRule(SIDE, SIDE), "batch": 12, "seed": 1, "epochs": 1, "preprocess": as_they_are}
    for (images, boxes, labels, _), _ in pipeline.train_batches(split, mirror=True, **options):
        for image, some, kinds in zip(images.numpy(), boxes.numpy().astype(int), labels.numpy(), strict=True):
            for (x1, y1, x2, y2), kind in zip(some, kinds, strict=True):
                if kind:
                    assert (image[y1:y2, x1:x2] == (230, 30)[kind - 1]).all()
        stored = {image.tobytes() for image in split.images.array.astype("float32")}
        turned = sum(image.numpy().tobytes() not in stored for image in images)
        assert 0 < turned < 12


def test_doubtful_boxes_are_not_learned_from():
    split = squares(2)
    ignore = BoxDataset(split.images, split.sizes, split.boxes, split.labels, split.labels != NONE, split.ids)
    options = {
        "resize": ResizeRule(SIDE, SIDE),
        "batch": 2,
        "seed": 1,
        "epochs": 1,
        "mirror": False,
        "preprocess": as_they_are,
    }
    for (_, boxes, labels, _), _ in pipeline.train_batches(ignore, **options):
        assert not labels.numpy().any()
        assert not boxes.numpy().any()


def test_recipes_count_updates():
    assert recipe.choose("voc", 5011, None).epochs == 32
    union = recipe.choose("voc", 16_551, None)
    assert union.epochs == 10
    assert union.schedule.at == (7.5,)
    assert recipe.choose("quick", 2000, None) == recipe.QUICK
    assert [recipe.named(None, d) for d in ("voc/2007+voc/2012", "coco/2017", "x.json")] == [
        "voc",
        "coco",
        "quick",
    ]
    with pytest.raises(ValueError, match="did you mean 'quick'"):
        recipe.named("quik", "x")


# --- replicas and the command, in processes of their own ---------------------------------------------------------

REPLICAS = f"""
import sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
from dataclasses import replace
from pathlib import Path
import keras
from test_run import PLAN, run_in
from training.detection.task import DetectionTask
from training.trainer.callbacks import NaNMonitor
from training.trainer.checkpoint_saver import SaveInterval
from training.trainer.trainer import train
from training.engine.backends import backend
two = backend.choose(2, "float32", "off", False)
run = run_in(Path(sys.argv[1]), two, PLAN)
with run.log:
    result = train(run)
print(result["replicas"], result["test"]["n"])
"""


@pytest.mark.slow
def test_two_replicas(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "2 6"


def test_the_command_refuses_in_one_line(done, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "no.jpg").write_text("no")
    cases = {
        "fit --backbone resnet5": "no backbone 'resnet5'",
        "fit --backbone googlenet": "a backbone must be a network of stages or a VGG, got googlenet",
        "fit --recipe quik": "did you mean 'quick'",
        "fit --data nowhere/notes.json": "no file or folder 'nowhere/notes.json'",
        "fit --epoch 3": "no option '--epoch'; did you mean '--epochs'?",
        "fit --weights none.safetensors --data {}": "none.safetensors",
        "evaluate --run {}": "no run in",
        "predict --run {} {}/none.jpg": "no file or folder",
        "predict --run {} --score 2 {}/a.png": "must be a number from 0 to 1, got '2'",
        "export --run {} --to onx": "no format 'onx'",
        "export --run {} --out {}": "--out must be a new, an empty or an export's folder",
        "detect": "invalid choice: 'detect'",
    }
    lines = [["detect.py", *line.replace("{}", str(tmp_path)).split()] for line in cases]
    lines.append(
        ["detect.py", "predict", "--run", str(done[0]), "--score", "0", *map(str, [tmp_path / "a.png"] * 2)]
    )
    lines[-1] += ["--draw", str(tmp_path / "drawn"), "--json", str(tmp_path / "found.json")]
    lines.append(["detect.py", "predict", "--run", str(done[0]), str(tmp_path / "no.jpg")])
    many = HERE.parent / "commands" / "many.py"
    got = forked.run([many], input=json.dumps(lines), check=True)
    answers = json.loads(got.stdout)
    for (line, says), answer in zip(cases.items(), answers, strict=False):
        assert answer["status"] == 2, (line, answer)
        assert says in answer["err"], (line, answer)
        assert len(answer["err"].strip().splitlines()) == 1, (line, answer)
    predicted, unreadable = answers[-2:]
    assert predicted["status"] == 0, predicted
    rows = json.loads((tmp_path / "found.json").read_text())
    assert all(set(r) == {"image_id", "category_id", "category", "bbox", "score"} for r in rows)
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 2
    assert unreadable["status"] == 2
    assert "none of 1 files is a readable image" in unreadable["err"]


@pytest.mark.slow
def test_a_vgg_and_a_residual_body_are_of_equal_cost():
    import keras_cnns
    from training.detection import detectors

    costs = []
    for name in detectors.SMALL:
        built = detectors.choose(name, small=True).build(10)
        rpn = [built.inference.get_layer(f"rpn_{n}").output for n in ("scores", "deltas")]
        shared = keras_cnns.measure(keras.Model(built.inference.input, rpn)).macs
        costs.append(shared + 32 * keras_cnns.measure(built.regions).macs)
    assert 0.8 < costs[0] / costs[1] < 1.25
