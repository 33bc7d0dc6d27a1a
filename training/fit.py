"""Trains a network: python training/fit.py [--arch NAME] [--data WHAT] ...

Without arguments it trains ResNet-20 on the digits that come with scikit-learn. The same command with the same
--run continues where it stopped.
"""

from pathlib import Path

from training import cli, errors

EXAMPLES = """examples:
  python training/fit.py
  python training/fit.py --arch wrn28_10 --data cifar10
  python training/fit.py --arch resnet50 --data photos/ --set image_size=128 --epochs 20
  python training/fit.py --arch lenet5 --set optimizer.rate=0.001 --run runs/mine
"""


def parser() -> cli.Parser:
    """The options of this command."""
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
        "--budget", type=cli.budget, metavar="F", help="as a fraction of the recipe's epochs: 0.3 is 30 %%"
    )
    where = p.add_argument_group("where")
    cli.add_training_options(how, where)
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
        from training.classification.setup import prepare
        from training.trainer.run import fit_command

        spec = prepare(args)
    fit_command(args, spec, cli.resume_command)


if __name__ == "__main__":
    cli.run_command(main)
