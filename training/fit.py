"""Trains a network: python training/fit.py [--arch NAME] [--data WHAT] ...

Without arguments it trains ResNet-20 on the digits that come with scikit-learn. The same command with the same
--run goes on where it stopped.
"""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from training import cli, errors

EXAMPLES = """examples:
  python training/fit.py
  python training/fit.py --arch wrn28_10 --data cifar10
  python training/fit.py --arch resnet50 --data photos/ --set image_size=128 --epochs 20
  python training/fit.py --arch lenet5 --set optimizer.rate=0.001 --run runs/mine
"""


def parser() -> cli.Parser:
    """The options of this door."""
    p = cli.Parser(prog="fit.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    what = p.add_argument_group("what")
    what.add_argument("--arch", metavar="NAME", help="network (keras_cnns.list_models()); default resnet20")
    what.add_argument(
        "--data",
        metavar="WHAT",
        help="default digits; a folder with a folder per class, a folder of IDX files, a .npz file, a TFDS name",
    )
    what.add_argument("--weights", metavar="TAG_OR_PATH", help="start from known weights, or from a file")
    what.add_argument(
        "--like", type=Path, metavar="DIR", help="network, data, recipe and seed of another run, to train it again"
    )
    how = p.add_argument_group("how")
    how.add_argument("--recipe", metavar="NAME", help="default: the paper's on its own data, else quick")
    how.add_argument(
        "--epochs", type=cli.positive_int, metavar="N", help="scales the recipe's schedule to N epochs"
    )
    how.add_argument("--budget", type=cli.budget, metavar="F", help="the same as a fraction: 0.3 is 30 %%")
    how.add_argument("--batch-size", type=cli.positive_int, metavar="N", help="images a step, over all replicas")
    how.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="any field of the recipe; repeatable"
    )
    how.add_argument("--seed", type=cli.seed, metavar="N", help="default 0")
    where = p.add_argument_group("where")
    where.add_argument("--run", type=Path, metavar="DIR", help="run folder; default: the next in runs/")
    where.add_argument("--replicas", type=cli.positive_int, metavar="N", help="devices; default: all GPUs, else 1")
    where.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    where.add_argument("--xla", default="auto", choices=("auto", "on", "off"))
    where.add_argument(
        "--save-every",
        type=cli.interval,
        default="10m",
        metavar="T",
        help="within an epoch: 10m, 90s, 500 (steps)",
    )
    where.add_argument("--deterministic", action="store_true", help="also on GPUs; CPUs always are")
    where.add_argument(
        "--find-lr", action="store_true", help="try rates for some steps, suggest one, train nothing"
    )
    where.add_argument("--dry-run", action="store_true", help="one step of everything, nothing kept")
    where.add_argument("--sync-bn", action="store_true", help="batch norm over all replicas' images; without XLA")
    where.add_argument(
        "--workers",
        metavar="HOST:PORT,...",
        help="all processes of a run on several machines (docs/distribution.md)",
    )
    where.add_argument(
        "--worker-index", type=cli.non_negative_int, metavar="I", help="which of them this is, from 0"
    )
    where.add_argument(
        "--worker-timeout",
        type=cli.positive_int,
        default=600,
        metavar="S",
        help="seconds without a step after which a worker gives up",
    )
    return p


def main() -> None:
    args = parser().parse_args()
    cli.import_keras_quietly()
    with errors.usage_errors():
        config, data, compute, notes = prepare(args)
    if compute.wire:
        cli.unavailable("--find-lr with several workers", args.find_lr)
        from training.trainer.multi_worker import take_part

        take_part(args, config, data, compute, notes, with_resume_line)
        return
    if args.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "checkpoints").mkdir()
            work(Path(folder), config, data, compute, notes, args.save_every)
        print("dry run: one step of everything worked; nothing was kept")
        return
    if args.find_lr:
        search(args.run, config, data, compute, notes)
        return
    from training.run_folder.claim import acquire
    from training.trainer.finish import summary

    with errors.usage_errors():
        folder, result, held = acquire(args.run, config)
    if result is None:
        with held:
            with_resume_line(folder, config, data, compute, notes, args.save_every)
    else:
        print(f"this run is finished already\n{summary(result, folder)}")


def prepare(args):
    """Arguments -> (config, data set, compute, lines for the log). Raises ValueError for a bad argument."""
    from keras_cnns import zoo
    from keras_cnns.deep import deep_recursion
    from keras_cnns.models.googlenet import GoogLeNetArchitecture
    from keras_cnns.weights.loading import given
    from training.classification.config import with_run_preprocessing
    from training.classification.setup import configure, dry
    from training.data import pipeline, sources
    from training.data.augment import drop_unsafe_flips
    from training.engine import cluster
    from training.engine.backends import backend
    from training.recipes import defaults
    from training.report.stream import told

    like = modelled(args)
    architecture = like.architecture if like else zoo.architecture(args.arch)
    asked = given(args.weights, args.arch) if args.weights else None
    if asked:
        with told([].append):
            asked.fetch()  # before there is a run folder
            architecture = with_run_preprocessing(architecture.for_weights(args.weights), asked.path)
    if args.epochs and args.budget:
        raise ValueError("--epochs and --budget say the same thing: give one of them")
    defaults.check_name(args.recipe)
    group = cluster.group(args.workers, args.worker_index, os.environ.get("TF_CONFIG"))
    norms = "synchronised" if args.sync_bn else "own"
    how = (args.replicas, args.precision, args.xla, args.deterministic)
    chosen = backend.choose(*how, group, norms, args.worker_timeout)
    data = sources.load(args.data)
    if like:
        recipe = like.recipe.scaled(args.epochs) if args.epochs else like.recipe
    else:
        recipe = defaults.choose(architecture, data, args.data, args.recipe, args.epochs, args.budget)
    if args.batch_size:
        recipe = replace(recipe, batch_size=args.batch_size)
    recipe = recipe.with_settings(*args.set)
    backend.check_supported(args, recipe)
    config = configure(architecture, recipe, data, args.data, chosen, args.seed, asked and asked.asked)
    size, channels = config.image_size, config.channels
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
        *drop_unsafe_flips(recipe.augment, data)[1],
        *heads,
        f"recipe: {recipe.name}, {recipe.epochs} epochs, "
        f"batch size {config.recipe.batch_size} ({recipe.citation})",
        chosen.why,
    ]
    if args.dry_run:
        config, data = dry(config, data)
    return config, data, chosen, notes


def modelled(args):
    """The configuration of the run that `--like` names, or None; what no option says is filled in."""
    from training.classification.config import Config, start_of

    like = Config.read(args.like) if args.like else None
    for option in ("arch", "recipe", "budget") if like else ():
        if getattr(args, option):
            raise ValueError(f"--like brings the network and the recipe along: leave out --{option}")
    told = (
        (like.architecture.name, like.data, start_of(like, args.like), like.seed)
        if like
        else ("resnet20", "digits", None, 0)
    )
    for option, value in zip(("arch", "data", "weights", "seed"), told, strict=True):
        if getattr(args, option) is None:
            setattr(args, option, value)
    return like


def search(asked: Path | None, config, data, compute, notes) -> None:
    """Draws the curve of a sweep over rates into the folder and prints the suggestion."""
    from training.classification.task import Run
    from training.report.folder import Log, next_folder
    from training.run_folder import claim
    from training.trainer import lr_finder

    with errors.usage_errors():
        folder = asked or next_folder(Path("runs"), config.architecture.name, config.data)
        claim.check(folder)
        held = claim.lock_folder(folder)
    with held, Log(folder / lr_finder.LOG, sys.stdout) as log:
        for note in notes:
            log(note)
        rate = lr_finder.find_learning_rate(Run(config, data, compute, folder, log))
        log(
            f"suggested rate: {rate:.2g} (--set optimizer.rate={rate:.2g}); "
            f"the curve is {folder / lr_finder.PICTURE}"
        )


def with_resume_line(folder: Path, *what) -> None:
    """Works; an interruption is told how to go on."""
    try:
        work(folder, *what)
    except (KeyboardInterrupt, cli.Terminated) as error:
        raise type(error)(f"continue with: {cli.resume_command(folder)}") from None


def work(folder: Path, config, data, compute, notes, every) -> None:
    """Trains in the folder and prints the result."""
    from training.classification.task import Run
    from training.report.folder import Log
    from training.trainer.checkpoint_saver import SaveInterval
    from training.trainer.finish import summary
    from training.trainer.trainer import train

    with Log(folder / "log.txt", sys.stdout) as log:
        log(f"run: {folder} ({config.architecture.name})")
        for note in notes:
            log(note)
        log(summary(train(Run(config, data, compute, folder, log, SaveInterval(*every))), folder))


if __name__ == "__main__":
    cli.run_command(main)
