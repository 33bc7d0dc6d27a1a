"""A run that is killed anywhere and repeated ends in the weights, figures and history of the unbroken run."""

import json

import pytest
from broken_runs import SMALL, calls, fits, outcome

import keras_cnns

pytestmark = pytest.mark.slow

# Points of points.py; 3 epochs of 19 steps, a save every 5. The last start always runs through.
SEQUENCES = {
    "before_tmp": ["before_tmp:3"],
    "mid_write": ["mid_write:3"],
    "first_write": ["mid_write:1"],
    "before_fsync": ["before_fsync:5"],
    "before_rename": ["before_rename:2"],
    "after_rename": ["after_rename:6"],
    "before_prune": ["before_prune:4"],
    "twice_mid_epoch": ["batch:7", "batch:3"],
    "last_batch": ["batch:19"],
    "validation": ["validation:2"],
    "validated": ["validated:1"],
    "epoch_end": ["epoch_end:2"],
    "history": ["history:2"],
    "conclude": ["conclude:1"],
    "signals": ["term:8", "int:3", "term_validation:1"],
    "clock": ["clock"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Outcomes of all calls, by sequence, and the folder above the runs."""
    root = tmp_path_factory.mktemp("kills")
    sequences = {"unbroken": [None], **{name: [*faults, None] for name, faults in SEQUENCES.items()}}
    found = iter(calls([line for n, f in sequences.items() for line in fits(root / n, f)], root))
    return {name: [next(found) for _ in faults] for name, faults in sequences.items()}, root


@pytest.mark.parametrize("name", SEQUENCES)
def test_ends_as_the_unbroken_run(runs, name):
    done, root = runs
    assert done[name][-1]["status"] == 0, done[name][-1]["err"]
    assert outcome(root / name) == outcome(root / "unbroken")
    assert not list((root / name / "checkpoints").glob("*.tmp-*"))


def test_what_the_interrupted_starts_said(runs):
    done, root = runs
    statuses = {name: [d["status"] for d in starts[:-1]] for name, starts in done.items()}
    assert statuses.pop("signals") == [143, 130, 143]
    assert statuses.pop("clock") == [0], done["clock"][0]["err"]
    assert {s for each in statuses.values() for s in each} == {-9}
    first, second, third, last = done["signals"]
    for start in (first, second, third):
        assert start["err"].splitlines()[-1].endswith(f"--run {root / 'signals'}")
    assert "continuing after epoch 0 of 3 and 8 of 19 steps" in second["out"]
    assert "continuing after epoch 0 of 3 and 11 of 19 steps" in third["out"]
    assert "continuing after epoch 0 of 3 and 19 of 19 steps" in last["out"]


EVERYTHING = [
    *("--arch", "wrn16_4", "--epochs", "3", "--save-every", "4", "--set", "image_size=8", "--set", "dropout=0.3"),
    *("--set", "ema=0.9", "--set", "mix=mixup", "--set", "smoothing=0.1", "--set", "keep=best"),
    *("--set", "schedule=plateau", "--set", "schedule.patience=1", "--set", "augment=rand_augment,random_erasing"),
    *("--set", "batch_size=128"),
]


DEATHS = ["batch:6", "term:5", "validation:1", "int_validation:1", "epoch_end:1"]


@pytest.mark.parametrize(
    ("replicas", "faults", "statuses"), [(1, DEATHS, [-9, 143, -9, 130, -9]), (2, ["term:6"], [143])]
)
def test_everything_that_has_a_state(tmp_path, replicas, faults, statuses):
    """Dropout, averaged weights, momentum, mixup, a plateau, the best epoch; batch norm apart on two replicas."""
    args = [*EVERYTHING, "--replicas", replicas]
    lines = [*fits(tmp_path / "unbroken", [None], args), *fits(tmp_path / "broken", [*faults, None], args)]
    done = calls(lines, tmp_path, timeout=3000)
    assert [d["status"] for d in done] == [0, *statuses, 0], done[-1]["err"]
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "unbroken")


def test_growing_images_repeats_and_an_early_stop(tmp_path):
    """With LAMB, and killed in an epoch of small images, at the seam of two sizes and in one of large ones."""
    args = ["--arch", "resnet20", "--set", "image_size=16", "--epochs", "6", "--save-every", "3"]
    args += [
        "--set",
        "progressive_resizing=growing",
        "--set",
        "repeated_augmentation=2",
        "--set",
        "optimizer=lamb",
        "--set",
        "batch_size=128",
    ]
    args += ["--set", "mix=mixup_or_cut_mix", "--set", "patience=2", "--set", "optimizer.rate=1e-9"]
    faults = ["batch:5", "epoch_end:2", "batch:2", None, None]
    done = calls([*fits(tmp_path / "unbroken", [None], args), *fits(tmp_path / "broken", faults, args)], tmp_path)
    assert [d["status"] for d in done] == [0, -9, -9, -9, 0, 0], done[-1]["err"]
    assert "stopped early: val_top1 has not risen for 2 epochs" in done[0]["out"]
    assert "finished already" in done[-1]["out"]
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "unbroken")
    assert len(outcome(tmp_path / "broken")[-1]) < 6


def test_another_number_of_replicas_keeps_the_order(tmp_path):
    """2 replicas, then 1, then 2: the samples, and so nearly the losses, of one replica throughout."""
    args = [*SMALL, "--set", "batch_size=64"]
    lines = fits(tmp_path / "one", [None], args)
    for replicas, fault in ((2, "term:8"), (1, "term:20"), (2, None)):
        lines += fits(tmp_path / "mixed", [fault], [*args, "--replicas", replicas])
    done = calls(lines, tmp_path)
    assert [d["status"] for d in done] == [0, 143, 143, 0], done[-1]["err"]
    one, mixed = (outcome(tmp_path / name) for name in ("one", "mixed"))
    assert [row[:2] for row in one[-1]] == [row[:2] for row in mixed[-1]]
    for a, b in zip(one[-1], mixed[-1], strict=True):
        assert float(a[2]) == pytest.approx(float(b[2]), rel=1e-4), "the mean loss of an epoch"


def test_equal_seeds_give_equal_weights_and_others_do_not(tmp_path):
    lines = [
        *fits(tmp_path / "a", [None]),
        *fits(tmp_path / "b", [None]),
        *fits(tmp_path / "c", [None], [*SMALL, "--seed", 1]),
    ]
    assert {d["status"] for d in calls(lines, tmp_path)} == {0}
    hashes = [json.loads((tmp_path / n / "result.json").read_text())["weights_sha256"] for n in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_both_phases_of_fine_tuning(tmp_path):
    """Killed while the head learns alone, and again when all layers do."""
    keras_cnns.save_torch_weights(keras_cnns.ResNet20(classes=4), tmp_path / "net.safetensors")
    args = [
        "--arch",
        "resnet20",
        "--recipe",
        "finetune",
        "--weights",
        tmp_path / "net.safetensors",
        "--epochs",
        "4",
    ]
    args += ["--set", "tuning.head_epochs=2", "--set", "image_size=8", "--batch-size", "64", "--save-every", "5"]
    runs = {"unbroken": [None], "broken": ["batch:7", "batch:48", None]}
    done = calls([line for name, faults in runs.items() for line in fits(tmp_path / name, faults, args)], tmp_path)
    assert [d["status"] for d in done] == [0, -9, -9, 0], done[-1]["err"]
    assert "epoch 1: only logits learns, until epoch 2" in done[2]["out"]
    assert "epoch 3: all layers learn" in done[3]["out"]
    assert "only logits" not in done[3]["out"]
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "unbroken")
