"""Trains a network: python training/fit.py [--arch NAME] [--data WHAT] ...

Without arguments it trains ResNet-20 on the digits that come with scikit-learn. The same command with the same
--run goes on where it stopped.
"""

import sys
import tempfile
from dataclasses import replace
from operator import mul
from pathlib import Path

from training import door

EXAMPLES = """examples:
  python training/fit.py
  python training/fit.py --arch wrn28_10 --data cifar10
  python training/fit.py --arch resnet50 --data photos/ --set image_size=128 --epochs 20
  python training/fit.py --arch lenet5 --set optimizer.rate=0.001 --run runs/mine
"""


LUMA = (0.2989, 0.587, 0.114)  # as tf.image.rgb_to_grayscale weighs red, green and blue


def parser() -> door.Parser:
    """The options of this door."""
    p = door.Parser(prog="fit.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    what = p.add_argument_group("what")
    what.add_argument("--arch", default="resnet20", metavar="NAME", help="network (keras_cnns.list_models())")
    what.add_argument(
        "--data",
        default="digits",
        metavar="WHAT",
        help="digits, a folder with one folder per class, a folder of IDX files, a .npz file, or a TFDS name",
    )
    what.add_argument("--weights", metavar="TAG_OR_PATH", help="start from known weights, or from a file")
    how = p.add_argument_group("how")
    how.add_argument("--recipe", metavar="NAME", help="default: the paper's on its own data, else quick")
    how.add_argument("--epochs", type=door.positive, metavar="N", help="scales the recipe's schedule to N epochs")
    how.add_argument("--budget", type=door.fraction, metavar="F", help="the same as a fraction: 0.3 is 30 %%")
    how.add_argument("--batch-size", type=door.positive, metavar="N", help="images a step, over all replicas")
    how.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="any field of the recipe; repeatable"
    )
    how.add_argument("--seed", type=door.seed, default=0, metavar="N", help="default 0")
    where = p.add_argument_group("where")
    where.add_argument("--run", type=Path, metavar="DIR", help="run folder; default: the next in runs/")
    where.add_argument("--replicas", type=door.positive, metavar="N", help="devices; default: all GPUs, else 1")
    where.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    where.add_argument("--xla", default="auto", choices=("auto", "on", "off"))
    where.add_argument("--deterministic", action="store_true", help="also on GPUs; CPUs always are")
    where.add_argument("--dry-run", action="store_true", help="one step of everything, nothing kept")
    later = p.add_argument_group("not available in this version")
    later.add_argument("--workers", metavar="HOST:PORT,...", help=door.argparse.SUPPRESS)
    later.add_argument("--worker-index", metavar="I", help=door.argparse.SUPPRESS)
    later.add_argument("--sync-bn", action="store_true", help=door.argparse.SUPPRESS)
    later.add_argument("--find-lr", action="store_true", help=door.argparse.SUPPRESS)
    return p


def main() -> None:
    args = parser().parse_args()
    for option in ("--workers", "--worker-index", "--sync-bn", "--find-lr"):
        door.unavailable(option, bool(getattr(args, option[2:].replace("-", "_"))))
    door.quiet()
    with door.arguments():
        config, data, compute, notes = prepare(args)
    if args.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            work(Path(folder), config, data, compute, notes)
        print("dry run: one step of everything worked; nothing was kept")
        return
    with door.arguments():
        folder, result = take(args.run, config)
    if result is None:
        with_resume_line(folder, config, data, compute, notes)
    else:
        from training.engine.outcome import summary

        print(f"this run is finished already\n{summary(result, folder)}")


def prepare(args):
    """Arguments -> (config, data set, compute, lines for the log). Raises ValueError for a bad argument."""
    from keras_cnns import __version__, zoo
    from keras_cnns.deep import deep_recursion
    from keras_cnns.models.googlenet import GoogLeNetArchitecture
    from keras_cnns.weights.loading import given
    from training import recipes
    from training.data import pipeline, sources
    from training.data.augment import suit
    from training.engine import compute
    from training.engine.config import Config
    from training.engine.setup import dry
    from training.report.stream import told

    architecture = zoo.architecture(args.arch)
    asked = given(args.weights, args.arch) if args.weights else None
    if asked:
        with told([].append):
            asked.source  # noqa: B018 (fetched before there is a run folder)
            architecture = architecture.for_weights(args.weights)
    if args.epochs and args.budget:
        raise ValueError("--epochs and --budget say the same thing: give one of them")
    recipes.check_name(args.recipe)
    chosen = compute.choose(args.replicas, args.precision, args.xla, args.deterministic)
    data = sources.load(args.data)
    recipe = recipes.choose(architecture, data, args.data, args.recipe, args.epochs, args.budget)
    if args.batch_size:
        recipe = replace(recipe, batch_size=args.batch_size)
    for setting in args.set:
        recipe = recipe.with_setting(setting)
    recipe = replace(recipe, batch_size=min(recipe.batch_size, len(data.train)))
    size, channels = recipe.image_size or architecture.input_shape[0], architecture.input_shape[-1]
    if size < architecture.min_size:
        raise ValueError(f"{architecture.name} takes at least {architecture.min_size} pixels a side; {size} came")
    recipes.check_fit(architecture, recipe)
    pipeline.check(channels, recipe.augment)
    chosen.check_batch(recipe.batch_size)
    own = args.weights or recipe.normalise == "network"
    config = Config(
        architecture=architecture,
        recipe=recipe,
        data=args.data,
        classes=data.classes,
        preprocessing=architecture.preprocessing if own else normalising(data, channels),
        image_size=size,
        channels=channels,
        seed=args.seed,
        replicas=chosen.replicas,
        precision=chosen.precision,
        xla="on" if chosen.xla else "off",
        weights=asked and asked.asked,
        version=__version__,
    )
    if asked and asked.path:  # a file may not fit: known before there is a run folder
        with told([].append), deep_recursion():
            asked.load(config.build())
    heads = []
    if isinstance(architecture, GoogLeNetArchitecture):
        heads.append(
            "auxiliary heads: " + ("trained along" if config.has_training_heads else "left out below 80 pixels")
        )
    notes = [
        f"data: {data.origin}",
        *(f"left out: {path}: {reason}" for path, reason in data.skipped),
        f"data: {len(data.train)} train, {len(data.val)} val, {len(data.test)} test, {len(data.classes)} classes",
        *(f"data: {line}" for line in pipeline.conversions(data, size, channels)),
        *suit(recipe.augment, data)[1],
        *heads,
        f"recipe: {recipe.name}, {recipe.epochs} epochs, batch size {recipe.batch_size} ({recipe.citation})",
        chosen.why,
    ]
    if args.dry_run:
        config, data = dry(config, data)
    return config, data, chosen, notes


def normalising(data, channels: int):
    """Zero mean and unit deviation over the training images, channel by channel."""
    from keras_cnns.preprocessing import Preprocessing

    mean, std = data.mean_std()
    if channels == 1 and len(mean) == 3:
        mean, std = ((round(sum(map(mul, LUMA, values)), 4),) for values in (mean, std))
    return Preprocessing(mean, tuple(max(s, 1.0) for s in std))  # an all-black set must not divide by nothing


def take(asked: Path | None, config):
    """The folder to work in and, if that run is finished, its result.

    Raises ValueError where the folder holds another run, or something that is no run.
    """
    from training.engine import config as configs
    from training.engine.outcome import finished
    from training.report.folder import next_folder

    if asked is None:
        folder = next_folder(Path("runs"), config.architecture.name, config.data)
        configs.write(config, folder)
        return folder, None
    if asked.exists() and not asked.is_dir():
        raise ValueError(f"--run wants a folder; {str(asked)!r} is a file")
    if (asked / "config.json").exists():
        differences = configs.read(asked).differences(config)
        if differences:
            raise ValueError(f"{asked} holds another run ({'; '.join(differences)}); give another --run")
        return asked, finished(asked)
    if asked.is_dir() and any(asked.iterdir()):
        raise ValueError(f"--run wants a new, an empty or a run's folder; {str(asked)!r} holds other files")
    try:
        asked.mkdir(parents=True, exist_ok=True)
        configs.write(config, asked)
    except OSError as error:
        raise ValueError(f"--run {str(asked)!r} cannot be written: {error.strerror or error}") from None
    return asked, None


def with_resume_line(folder: Path, *what) -> None:
    """Works; an interruption is told how to go on."""
    try:
        work(folder, *what)
    except (KeyboardInterrupt, door.Terminated) as error:
        raise type(error)(f"continue with: {door.again(folder)}") from None


def work(folder: Path, config, data, compute, notes) -> None:
    """Trains in the folder and prints the result."""
    from training.engine.outcome import summary
    from training.engine.run import train
    from training.engine.setup import Run
    from training.report.folder import Log

    with Log(folder / "log.txt", sys.stdout) as log:
        log(f"run: {folder} ({config.architecture.name})")
        for note in notes:
            log(note)
        log(summary(train(Run(config, data, compute, folder, log)), folder))


if __name__ == "__main__":
    door.enter(main)
