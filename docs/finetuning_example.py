"""The example of docs/finetuning.md: train on five classes of Fashion-MNIST, then on few images of five others.

    python docs/finetuning_example.py [FOLDER_OF_IDX_FILES] [SEEDS]

It trains ResNet-20, at 16 pixels, on five classes chosen at random, then, for each seed, on ten images of each of
the others: fine-tuned, the head alone, and from scratch for the same number of steps. The runs are in
runs/finetuning/; finished ones are not repeated.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from training.data import idx

SOURCE, TARGET = np.split(np.random.default_rng(0).permutation(10), 2)
MANY, FEW = 5_000, 10  # images a class


def subset(split, classes, each: int, seed: int):
    """`each` images of every class, labels counted from 0."""
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(split.labels == c))[:each] for c in classes]
    labels = np.repeat(np.arange(len(classes)), [len(c) for c in chosen])
    return split.images.array[np.concatenate(chosen)], labels


def archive(path: Path, data, classes, each: int, seed: int) -> Path:
    """An .npz of some classes: train with `each` images a class, val with 50, test with all."""
    if not path.exists():
        parts = {"train": (data.train, each), "val": (data.val, 50), "test": (data.test, 1000)}
        arrays = {}
        for name, (split, count) in parts.items():
            arrays[f"x_{name}"], arrays[f"y_{name}"] = subset(split, classes, count, seed)
        np.savez(path, **arrays, classes=np.array([data.classes[c] for c in classes]))
    return path


def fit(run: Path, *options) -> dict:
    """The result of a run of `fit.py`: trains it, or reads it from the folder of a finished run."""
    small = ("--arch", "resnet20", "--set", "image_size=16")
    command = [sys.executable, "training/fit.py", *small, "--run", str(run), *map(str, options)]
    print(" ".join(["python", *command[1:]]), flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((run / "result.json").read_text())


def main(folder: str = "/usr/share/datasets/fashion-mnist", seeds: str = "3") -> None:
    data, root = idx.load(Path(folder)), Path("runs/finetuning")
    root.mkdir(parents=True, exist_ok=True)
    source = archive(root / "source.npz", data, SOURCE, MANY, 0)
    first = fit(root / "source", "--data", source, "--epochs", 6)
    print(f"source: test top-1 {first['test']['top1']:.4f}")
    weights = ("--weights", root / "source" / "model.keras", "--recipe", "finetune")
    ways = {
        "fine-tuned": weights,
        "head alone": (*weights, "--set", "tuning.by=0"),
        "from scratch": ("--set", "keep=best", "--batch-size", 16, "--epochs", 60),
    }
    found = {name: [] for name in ways}
    for seed in range(int(seeds)):
        few = archive(root / f"target-{seed}.npz", data, TARGET, FEW, seed)
        for name, options in ways.items():
            run = root / f"{name.replace(' ', '-')}-{seed}"
            result = fit(run, "--data", few, "--seed", seed, *options)
            found[name].append(result["test"]["top1"])
            print(
                f"{name}, seed {seed}: test top-1 {result['test']['top1']:.4f} (n={result['test']['n']})",
                flush=True,
            )
    for name, values in found.items():
        listed = ", ".join(f"{v:.4f}" for v in values)
        print(f"{name}: mean {np.mean(values):.4f}, deviation {np.std(values, ddof=1):.4f} ({listed})")


if __name__ == "__main__":
    main(*sys.argv[1:])
