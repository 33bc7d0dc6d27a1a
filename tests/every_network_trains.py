"""Trains every network of the zoo, and says which does not learn: python tests/every_network_trains.py --runs DIR

A miniature of every row (one or two units a stage, thin) and one network a family at full depth, on the digits
with the quick recipe. A network learns if the training loss of its last epoch is less than half of its first
epoch's. Every training is an ordinary run folder in DIR: the same command goes on where it stopped, and rewrites
DIR/table.md after each network. Exit status 1 if a network did not learn.
"""

import argparse
import csv
import fnmatch
import sys
from dataclasses import replace
from pathlib import Path

import keras
from support import miniature

from keras_cnns.zoo import ARCHITECTURES
from training import cli, errors
from training.classification.config import Config
from training.classification.setup import configure
from training.classification.task import ClassificationTask
from training.data import sources
from training.engine import devices
from training.recipes import defaults
from training.report.folder import Log
from training.run_folder.claim import acquire
from training.trainer.trainer import train

# One a family at full depth.
FULL = (
    "lenet5",
    "lenet5_modern",
    "alexnet",
    "vgg16_bn",
    "nin_cifar",
    "googlenet",
    "plain20",
    "resnet20",
    "resnet50",
    "resnet50_v2",
    "wrn16_4",
    "resnext50_32x4d",
    "seresnet50",
    "sknet50",
    "resnest50",
    "repvgg_a0",
)
LEAST = 32  # pixels
LEARNT = 0.5


def networks(pattern: str) -> dict[str, tuple]:
    """What to train: a label, the network, and all names whose miniatures are the same."""
    chosen = {}
    for name, architecture in ARCHITECTURES.items():
        small = miniature(architecture, by=4, dense=128)
        twin = replace(small, name="", citation="", input_shape=(1, 1, 1), min_size=1)
        chosen.setdefault(twin, (f"{name}-miniature", small, []))[2].append(name)
    tasks = [*chosen.values(), *((name, ARCHITECTURES[name], [name]) for name in FULL)]
    return [task for task in tasks if any(fnmatch.fnmatch(n, pattern) for n in (task[0], *task[2]))]


def trained(folder: Path, architecture, epochs: int | None, seed: int, data, device) -> tuple[Config, dict, list]:
    """Configuration, result and history of one network's run, which is made, continued or only read."""
    recipe = defaults.quick(architecture, data)
    if epochs:
        recipe = recipe.scaled(
            epochs * (2 if recipe.initializer == "centred" else 1)
        )  # without norms all is slower
    recipe = replace(recipe, image_size=max(recipe.image_size, LEAST, architecture.min_size))
    config = configure(architecture, recipe, data, "digits", device, seed)
    with errors.usage_errors():
        folder, result, held = acquire(folder, config)
    if result is None:
        keras.backend.clear_session()
        with held, Log(folder / "log.txt", sys.stdout) as log:
            log(f"run: {folder}")
            result = train(ClassificationTask(config, data, device, folder, log))
    with open(folder / "history.csv", encoding="utf-8") as file:
        return config, result, list(csv.DictReader(file))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument(
        "--runs", type=Path, required=True, metavar="DIR", help="where the run folders and the table go"
    )
    p.add_argument("--only", default="*", metavar="PATTERN", help="names or labels, as 'vgg*' or '*-miniature'")
    p.add_argument(
        "--epochs", type=int, default=10, help="of the miniatures, twice that without norms; default 10"
    )
    p.add_argument("--full-epochs", type=int, help="of the networks at full depth; default: the quick recipe's")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    device = devices.choose(1, "float32", "off", False)
    data = sources.load("digits")
    lines = [
        "| network | also of | pixels | epochs | seconds | loss, first epoch | last epoch | test top-1 | learnt |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    failed = []
    for label, architecture, names in networks(args.only):
        epochs = args.epochs if label.endswith("-miniature") else args.full_epochs
        config, result, history = trained(args.runs / label, architecture, epochs, args.seed, data, device)
        first, last = (float(history[i]["loss"]) for i in (0, -1))
        learnt = last < LEARNT * first
        seconds = sum(float(row["seconds"]) for row in history)
        lines.append(
            f"| {label} | {', '.join(names[1:])} | {config.image_size} | {len(history)} | {seconds:.0f} "
            f"| {first:.3f} | {last:.3f} | {result['test']['top1']:.4f} | {'yes' if learnt else 'NO'} |"
        )
        (args.runs / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        failed += [] if learnt else [label]
    print("\n".join(lines))
    print(f"{len(lines) - 2} networks, {len(failed)} did not learn{': ' if failed else ''}{', '.join(failed)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    cli.run_command(main)
