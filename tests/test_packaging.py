"""The wheel, installed outside the checkout, works."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import keras_cnns

ROOT = Path(__file__).parent.parent


def test_the_version_is_one_fact():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "keras_cnns.version.__version__"
    assert keras_cnns.__version__.count(".") == 2


def test_every_requirement_is_pinned_in_the_constraints():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {next(iter(r.replace("<", ">").replace("[", ">").split(">"))).strip() for r in wanted}
    assert names <= pinned


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(tmp_path):
    def run(*command, **options):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, **options)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    run("-m", "build", "--wheel", "--outdir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    run("-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path / "site", wheel)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import keras_cnns, training.recipes.papers\n"
        "print(keras_cnns.__file__, training.recipes.papers.__file__)\n"
        "print(keras_cnns.measure(keras_cnns.ResNet20()).trainable_params, keras_cnns.__version__)\n"
    )
    where, counts = run("-c", code, cwd=tmp_path).splitlines()[-2:]
    assert where.count(str(tmp_path / "site")) == 2
    assert counts == f"269722 {keras_cnns.__version__}"
    predict = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); sys.argv = sys.argv[1:]\n"
    predict += "import runpy; runpy.run_module('training.predict', run_name='__main__')"
    named = ("--arch", "resnet20", "--weights", "keras_cnns/resnet20.fashion_mnist")
    answer = run(
        "-c", predict, "predict.py", *named, ROOT / "docs" / "pictures" / "clothes" / "bag.png", cwd=tmp_path
    )
    assert answer.splitlines()[-1].split(": ")[1].startswith("Bag 9") or "Bag 100" in answer
