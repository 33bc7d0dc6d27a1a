"""Every bad argument: exit status 2, one line, and what the line says."""

import json
import subprocess
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, "uint8")).save(path)


def folders(root):
    """Data sets that cannot be used, by name."""
    for kind in ("cats", "dogs"):
        for i in range(4):
            picture(root / "broken" / kind / f"{i}.png", 10 * i)
            picture(root / "empty_class" / kind / f"{i}.png", 10 * i)
    for i in range(4):
        picture(root / "one_class" / "cats" / f"{i}.png", 10 * i)
        picture(root / "flat" / f"{i}.png", 10 * i)
    (root / "broken" / "cats" / "page.jpg").write_text("<html>404</html>")
    (root / "empty_class" / "fish").mkdir()
    images, labels = np.zeros((8, 5, 5), "uint8"), np.arange(8) % 2
    np.savez(root / "counts.npz", x=images, y=labels[:7])
    np.savez(root / "shapes.npz", x=images.reshape(8, 25), y=labels)
    (root / "finished").mkdir()
    (root / "finished" / "notes.txt").write_text("mine")
    (root / "file").write_text("")
    return root


# command, arguments ({} is the folder above), what the line says
CASES = [
    ("benchmark.py", "--mode trian", "no mode 'trian'; did you mean 'train'?"),
    ("benchmark.py", "--against tourch", "no engine 'tourch'; did you mean 'torch'?"),
    ("benchmark.py", "--arch resnet5", "no architecture 'resnet5'"),
    ("benchmark.py", "--arch resnet50 --image-size 8", "resnet50 takes at least 32 pixels a side, got 8"),
    ("benchmark.py", "--mode ,", "give at least one mode and one network"),
    ("benchmark.py", "--json nowhere/x.json", "--json: must be a file to write, got 'nowhere/x.json'"),
    ("fit.py", "--arch wrn28-10", "no architecture 'wrn28-10'; did you mean 'wrn28_10'?"),
    ("fit.py", "--arhc resnet20", "no option '--arhc'; did you mean '--arch'?"),
    ("fit.py", "--recipe wrn", "no recipe 'wrn'; did you mean 'wrn_cifar'?"),
    ("fit.py", "--epochs 0", "--epochs: must be a positive integer, got '0'"),
    ("fit.py", "--epochs many", "--epochs: must be a positive integer, got 'many'"),
    ("fit.py", "--epochs 2 --budget 0.5", "--epochs and --budget say the same thing"),
    ("fit.py", "--budget -1", "--budget: must be a number above 0"),
    ("fit.py", "--seed -1", "--seed: "),
    ("fit.py", "--precision double", "--precision: invalid choice: 'double'"),
    ("fit.py", "--set rate=1", "no field of Recipe 'rate'"),
    ("fit.py", "--set optimizer.rate=fast", "SGD.rate must be float"),
    ("fit.py", "--set image_size=4", "resnet20 takes at least 8 pixels a side, got 4"),
    ("fit.py", "--set dropout=0.5", "resnet20 has no dropout inside its units"),
    ("fit.py", "--set resrep=forgetting", "resrep needs compactors, got resnet20: training/prune.py adds them"),
    ("fit.py", "--recipe finetune", "the recipe 'finetune' starts from weights: give --weights TAG_OR_PATH"),
    ("fit.py", "--weights imagenet", "no weights are known for resnet20"),
    ("fit.py", "--arch resnet50 --weights timm/resnet50.a1_in1", "did you mean 'timm/resnet50.a1_in1k'?"),
    ("fit.py", "--weights none.keras", "no weights file 'none.keras'"),
    ("fit.py", "--workers a:1,b:1", "--workers and --worker-index must be given together"),
    ("fit.py", "--workers a,b:1 --worker-index 0", "--workers must be host:port,host:port,..., got 'a'"),
    ("fit.py", "--workers a:1,b:1 --worker-index 2", "--worker-index must be from 0 to 1, got 2"),
    ("fit.py", "--worker-index -1", "--worker-index: must be a non-negative integer, got '-1'"),
    (
        "fit.py",
        "--workers a:1,b:1 --worker-index 0 --replicas 2",
        "--replicas must be 1 on a worker without GPUs, got 2",
    ),
    ("fit.py", "--set clip=0", "clip must be"),
    ("fit.py", "--set accumulate=5", "the batch size must be divisible by 5 parts"),
    ("tune.py", "--space wdth", "no dimension of resnet20 'wdth'; did you mean 'width'?"),
    ("tune.py", "", "--space is needed, as --space width,depth; --space list shows what there is"),
    ("tune.py", "--space width --max-params 10", "no candidate of this space is allowed (all 6); the nearest: "),
    ("tune.py", "--space width --max-macs none", "--max-macs: must be a number above 0, such as 3e5, got 'none'"),
    ("tune.py", "--space width --objective loss", "--objective must be accuracy, accuracy-0.02*macs"),
    ("tune.py", "--space width --tuner grid", "--tuner: invalid choice: 'grid'"),
    ("tune.py", "--space width --parallel 0", "--parallel 0 is for a chief whose workers run elsewhere"),
    ("tune.py", "--space resnext,width --arch resnext29_32x4d", "the width follows from the rest"),
    ("tune.py", "--space width --run {}", "must be a new, an empty or a search's folder"),
    ("fit.py", "--like {}", "no run in "),
    ("launch.py", "-- --arch resnet20", "give --run DIR among the arguments of fit.py"),
    ("launch.py", "-- --run {} --workers a:1", "arguments of fit.py must be without --workers"),
    ("fit.py", "--find-lr --run {}/finished", "must be a new, an empty or a run's folder"),
    ("fit.py", "--save-every 0", "--save-every: must be steps (500), seconds (90s) or minutes (10m), got '0'"),
    ("fit.py", "--save-every 5h", "--save-every: must be steps"),
    (
        "fit.py",
        "--set repeated_augmentation=3",
        "the batch size must be divisible by repeated_augmentation=3, got 64",
    ),
    (
        "fit.py",
        "--arch alexnet --set growing=growing",
        "progressive_resizing needs a network that takes any size: ",
    ),
    ("predict.py", "--run {} --sheet x.jpg a.png", "--sheet: must end in .png, got 'x.jpg'"),
    (
        "predict.py",
        "--run {} --csv nowhere/x.csv a.png",
        "must be a file to write, got 'nowhere/x.csv' (no folder",
    ),
    ("fit.py", "--run {}/finished", "must be a new, an empty or a run's folder"),
    ("fit.py", "--run {}/file", "--run must be a folder, got the file"),
    ("fit.py", "--run {}/file/below", "cannot be written"),
    ("fit.py", "--data {}/missing", "no folder or .npz file"),
    ("fit.py", "--data cifar", "did you mean 'cifar10'?"),
    ("fit.py", "--data {}/empty_class", "the class 'fish' has no images"),
    ("fit.py", "--data {}/one_class", "two"),
    ("fit.py", "--data {}/flat", "one folder"),
    ("fit.py", "--data {}/broken", "page.jpg"),
    ("fit.py", "--data {}/counts.npz", "y must have the length of x, 8, got 7"),
    ("fit.py", "--data {}/shapes.npz", "25"),
    ("fit.py", "--data {}/file", "must be an .npz archive"),
    ("evaluate.py", "", "give --run DIR, or --arch NAME with --weights TAG_OR_PATH"),
    ("evaluate.py", "--arch resnet20", "--arch resnet20 needs --weights TAG_OR_PATH"),
    ("evaluate.py", "--run {}/finished", "it has no config.json"),
    ("evaluate.py", "--arch resnet18 --weights imagenet --data {}/flat", "one folder per class"),
    ("evaluate.py", "--arch resnet18 --weights imagenet --data {}/broken", "unreadable"),
    ("predict.py", "--arch resnet50 --weights a1_in1k {}/flat", "no weights 'a1_in1k'"),
    (
        "predict.py",
        "--arch resnet50 --weights timm/resnet18.a1_in1k {}/flat",
        "of resnet18, not of resnet50",
    ),
    ("experiment.py", "degradatoin", "no experiment 'degradatoin'; did you mean 'degradation'?"),
    ("experiment.py", "relu --seeds 0", "--seeds: must be a positive integer, got '0'"),
    ("experiment.py", "relu --run {}/finished", "must be a new, an empty or an experiment's folder"),
    ("experiment.py", "relu --data {}/missing", "no folder or .npz file"),
    ("prune.py", "--keep-macs 0.5", "the following arguments are required: --run"),
    ("prune.py", "--run {}/finished --keep-macs 0.5", "it has no config.json"),
    ("prune.py", "--run {}/finished --keep-macs half", "--keep-macs: must be a number above 0"),
    ("export.py", "", "give --run DIR, or --arch NAME with --weights TAG_OR_PATH"),
    ("export.py", "--run {}/missing", "it has no config.json"),
    ("export.py", "--run {}/finished --run {}/flat", "an export is of one network, got --run 2 times"),
    ("export.py", "--run {}/finished --to tflit", "no format 'tflit'; did you mean 'tflite'?"),
    ("export.py", "--run {}/finished --quantize int", "no quantization 'int'; did you mean 'int8'?"),
    ("export.py", "--run {}/finished --to keras --quantize int8", "--quantize is for TFLite"),
    ("export.py", "--run {}/finished --max-drop 2", "--max-drop: must be a number from 0 to 1, got '2'"),
    ("export.py", "--run {}/finished --fine-tune 1", "--qat is for int8: add --quantize int8"),
    ("export.py", "--run {}/finished --out {}/finished", "which holds notes.txt"),
    ("export.py", "--run {}/finished --out {}/file", "--out must be a folder, got the file"),
    ("export.py", "--arch resnet20 --weights none.keras", "no weights file 'none.keras'"),
    ("predict.py", "--run {}/finished", "the following arguments are required"),
    ("predict.py", "--run {}/finished none.png", "no file or folder 'none.png'"),
    ("predict.py", "--run {}/finished {}/finished", "no images"),
    ("predict.py", "--run {}/finished {}/flat", "it has no config.json"),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    root = folders(tmp_path_factory.mktemp("bad"))
    lines = [[command, *arguments.format(root, root).split()] for command, arguments, _ in CASES]
    done = forked.run([HERE / "many.py"], input=json.dumps(lines), cwd=root, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert not (root / "runs").exists(), "a refused run leaves no folder"
    return {case[:2]: outcome for case, outcome in zip(CASES, found, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]} {c[1]}")
def test_one_line_and_status_2(outcomes, case):
    command, arguments, says = case
    outcome = outcomes[command, arguments]
    assert outcome["status"] == 2, outcome
    assert outcome["err"].startswith(f"{command}: ")
    assert outcome["err"].count("\n") == 1, outcome["err"]
    assert says in outcome["err"]
    assert outcome["out"] == ""


def test_a_real_process_says_one_line_too(tmp_path):
    """TensorFlow's own start-up lines must not bury the refusal."""
    script = HERE.parents[1] / "training" / "fit.py"
    command = [sys.executable, script, "--arch", "wrn28-10"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("fit.py: no architecture 'wrn28-10'; did you mean 'wrn28_10'? (")
    assert done.stdout == ""
