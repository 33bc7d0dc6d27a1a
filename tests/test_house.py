"""The house rules: who may import whom, what importing costs, what every name carries."""

import ast
import doctest
import importlib
import inspect
import json
import pkgutil
import sys

import pytest
from support import ARCHITECTURES, ROOT, forked_script

import keras_cnns

# From the ground up; a module imports only from lower floors.
FLOORS = [
    {"version", "errors", "deep", "graph", "guard"},
    {"values"},
    {"preprocessing", "measure", "layers", "spaces"},
    {"blocks", "surgery", "explain"},
    {"weights"},
    {"architecture"},
    {"models"},
    {"zoo", "dimensions", "detection"},
    {"__init__"},
]
# Papers in the order of their years: each may import those before it.
PAPERS = ["lenet", "alexnet", "nin", "vgg", "googlenet", "resnet", "resnet_v2", "wide_resnet"]
PAPERS += ["resnext", "senet", "sknet", "resnest", "repvgg", "resrep"]
# training/, from the ground up; the commands import from all of them, and only they import the command line.
TRAINING_FLOORS = [
    {"errors", "processes", "report", "algorithms"},
    {"data"},
    {"recipes"},
    {"engine"},
    {"run_folder"},
    {"trainer"},
    {"classification"},
    {"exporting", "experiments", "pruning", "search", "visualize"},
    {"bench", "detection"},
]
COMMANDS = {"fit", "launch", "evaluate", "predict", "tune", "export", "benchmark"}
COMMANDS |= {"explain", "experiment", "prune", "detect"}

FILES = sorted((ROOT / "keras_cnns").rglob("*.py"))
TRAINING = sorted((ROOT / "training").rglob("*.py"))
MODULES = [*sorted(m.name for m in pkgutil.walk_packages(keras_cnns.__path__, "keras_cnns.")), "keras_cnns"]


def imports(path, top_only=False):
    """Absolute names of all modules that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            yield node.module
            if node.module in ("keras_cnns", "keras_cnns.models", "training"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path) -> str:
    """The folder or file of keras_cnns/ or training/ in which a file lies."""
    return path.relative_to(ROOT).parts[1].removesuffix(".py")


def floor(name: str, floors: list[set[str]] = FLOORS) -> int:
    found = [i for i, rooms in enumerate(floors) if name in rooms]
    assert found, f"{name} has no floor: add it to the floors above"
    return found[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    own = room(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "keras_cnns" or len(parts) == 1 or own == "__init__":
            continue
        if parts[1] != own:
            assert floor(parts[1]) < floor(own), f"{own} imports {name}, which is not below it"
        elif own == "models" and len(parts) > 2:
            order = [PAPERS.index(path.stem), PAPERS.index(parts[2])]
            assert order[1] < order[0], f"{path.stem} imports the younger paper {parts[2]}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_keras_and_numpy_at_the_top(path):
    allowed = {*sys.stdlib_module_names, "keras", "numpy", "keras_cnns"}
    assert {name.split(".")[0] for name in imports(path, top_only=True)} <= allowed
    everywhere = {name.split(".")[0] for name in imports(path)}
    assert "training" not in everywhere
    assert not any(name.startswith("keras.src") for name in imports(path)), "keras.src is private"


def test_every_paper_is_in_order():
    found = {p.stem for p in (ROOT / "keras_cnns" / "models").glob("*.py")} - {"__init__"}
    assert found == set(PAPERS)


@pytest.mark.parametrize("path", TRAINING, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_in_training_go_down(path):
    own = room(path)
    if own in COMMANDS or own in ("__init__", "cli"):
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "training" and len(parts) > 1 and parts[1] != own:
            assert parts[1] != "cli", f"{own} imports the command line"
            below = floor(parts[1], TRAINING_FLOORS) < floor(own, TRAINING_FLOORS)
            assert below, f"{own} imports {name}, which is not below it"


def test_every_folder_of_training_has_a_floor():
    rooms = {room(path) for path in TRAINING} - {"__init__", "cli"} - COMMANDS
    assert rooms == set().union(*TRAINING_FLOORS)


def test_commands_are_never_imported():
    for path in [*FILES, *TRAINING]:
        for name in imports(path):
            head, _, last = name.rpartition(".")
            assert not (last in COMMANDS and head in ("training", "")), f"{path.name} imports the command {name}"


def test_no_file_in_training_hides_a_module():
    """`python training/fit.py` puts training/ first on sys.path."""
    names = {p.stem for p in (ROOT / "training").iterdir() if not p.name.startswith("_")}
    assert not names & {*sys.stdlib_module_names, "keras", "numpy", "tensorflow", "sklearn", "PIL", "matplotlib"}


def test_no_lambda_is_a_default():
    """A lambda has no name to write to JSON."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            defaults = []
            if isinstance(node, ast.FunctionDef):
                defaults = [*node.args.defaults, *node.args.kw_defaults]
            elif isinstance(node, ast.ClassDef):
                defaults = [s.value for s in node.body if isinstance(s, ast.AnnAssign)]
            found = [d for d in defaults if d is not None and any(isinstance(n, ast.Lambda) for n in ast.walk(d))]
            assert not found, f"{path.name}:{found[0].lineno}"


def test_no_boolean_parameters_in_blocks():
    """A number, a part or another unit says it. `bias` of `conv` is Keras' own word, passed on as it is."""
    found = set()
    for path in (ROOT / "keras_cnns" / "blocks").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for argument in [*node.args.args, *node.args.kwonlyargs]:
                    if getattr(argument.annotation, "id", None) == "bool":
                        found.add(f"{path.stem}.{node.name}.{argument.arg}")
            elif isinstance(node, ast.AnnAssign) and getattr(node.annotation, "id", None) == "bool":
                found.add(f"{path.stem}.{node.target.id}")
    assert found <= {"conv.conv.bias"}


@pytest.mark.parametrize("module", MODULES)
def test_public_names_have_docstrings(module):
    loaded = importlib.import_module(module)
    assert loaded.__doc__
    for name, part in vars(loaded).items():
        own = getattr(part, "__module__", None) == module and (inspect.isclass(part) or inspect.isfunction(part))
        if not own or name.startswith("_"):
            continue
        # A dataclass without words gets its signature as a docstring: that does not count.
        words = part.__doc__ or f"{name}("
        assert not words.startswith(f"{name}("), f"{module}.{name} has no docstring"


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module):
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert not failed


ONE_A_FAMILY = ["lenet5", "alexnet", "nin_cifar", "vgg11_cifar", "googlenet", "resnet20", "wrn16_4"]
EVERY = [pytest.param(n, marks=[] if n in ONE_A_FAMILY else pytest.mark.slow) for n in ARCHITECTURES]


@pytest.mark.parametrize("name", EVERY)
def test_example_of_an_architecture_runs(name):
    architecture = ARCHITECTURES[name]
    tests = doctest.DocTestParser().get_doctest(architecture.__doc__, {}, name, None, 0)
    assert len(tests.examples) >= 3
    assert not doctest.DocTestRunner().run(tests).failed


def test_face_is_written_out():
    """`__all__` is complete, sorted as ruff sorts it, and the zoo's public names are the papers' names."""
    assert all(hasattr(keras_cnns, name) for name in keras_cnns.__all__)
    on_face = {v.name for v in map(keras_cnns.__dict__.get, keras_cnns.__all__) if hasattr(v, "citation")}
    assert on_face == set(ARCHITECTURES)


ASKED = """
import builtins, json, sys
import keras
original, asked, before = builtins.__import__, set(), set(sys.modules)
def watched(name, scope=None, *rest):
    if (scope or {}).get("__name__", "").startswith("keras_cnns"):
        asked.add(name.split(".")[0])
    return original(name, scope, *rest)
builtins.__import__ = watched
import keras_cnns
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps({"new": sorted(new), "asked": sorted(asked)}))
"""


def test_import_is_light():
    """Keras has brought in its backend before, so who asks for what is watched."""
    found = json.loads(forked_script(ASKED).splitlines()[-1])
    assert "keras_cnns" in found["new"]
    assert set(found["asked"]) <= {*sys.stdlib_module_names, "keras", "numpy", "keras_cnns"}
    assert set(found["new"]) <= {*sys.stdlib_module_names, "keras_cnns"}
