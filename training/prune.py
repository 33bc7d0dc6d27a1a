"""Makes a trained network smaller: python training/prune.py --run DIR --keep-macs 0.5 [--out DIR]

ResRep trains with compactors until some of their channels are zero, and deletes these. The result is a run folder
for evaluate.py, predict.py, export.py and prune.py itself. The same command continues an interrupted pruning.
"""

from pathlib import Path

from training import cli, errors

EXAMPLES = """examples:
  python training/prune.py --run runs/resnet20-digits-1 --keep-macs 0.5
  python training/prune.py --run runs/resnet20-digits-1 --keep-macs 0.5 --method magnitude
"""


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.Parser(prog="prune.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    p.add_argument("--run", type=Path, required=True, metavar="DIR", help="a finished run")
    p.add_argument("--keep-macs", type=cli.budget, required=True, metavar="F", help="fraction of the MACs to keep")
    p.add_argument("--out", type=Path, metavar="DIR", help="default: beside the run, named after it")
    p.add_argument(
        "--method",
        default="resrep",
        choices=("resrep", "magnitude"),
        help="magnitude: removes filters of small weights at once, then trains as long (to compare with)",
    )
    p.add_argument("--epochs", type=cli.positive_int, metavar="N", help="default: as many as the run had")
    p.add_argument("--seed", type=cli.seed, default=0, metavar="N", help="of the order and the augmentation")
    return p


def default_out(run: Path, method: str, keep: float) -> Path:
    """The default of --out: beside the run, named after it.

    >>> print(default_out(Path("runs/a"), "resrep", 0.5))
    runs/a-resrep-0.5
    """
    parent = run.parent if run.name not in ("", "..") else run.resolve().parent
    return parent / f"{run.resolve().name}-{method}-{keep:g}"


def main() -> None:
    args = parser().parse_args()
    cli.import_keras_quietly()
    with errors.usage_errors():
        from training.data import sources
        from training.engine.backends import backend
        from training.pruning import folder, runner

        if backend.name != "tensorflow":
            raise ValueError(f"prune.py needs KERAS_BACKEND=tensorflow, got {backend.name}")
        out = args.out or default_out(args.run, args.method, args.keep_macs)
        what = (args.run, out, args.keep_macs, args.epochs, args.seed)
        compute = backend.choose(None, "float32", "auto", False)
        work = runner.METHODS[args.method](*what, sources.load, compute)
        if done := work.done:
            print(f"this pruning is already finished\n{folder.summary(done, out)}")
            return
    try:
        work.run(lambda line: print(line, flush=True))
    except (KeyboardInterrupt, cli.Terminated) as error:
        raise type(error)("continue with the same command") from None


if __name__ == "__main__":
    cli.run_command(main)
