"""Tests a claim of a paper by training: python training/experiment.py NAME [--budget F] [--seeds N]

Writes report.md, result.json and pictures. The same command continues an interrupted experiment.
"""

import shlex
from pathlib import Path

from training import cli, errors

EXAMPLES = """experiments: degradation, by-construction, relu, batch-norm, preactivation,
  width-depth-cardinality, family

examples:
  python training/experiment.py degradation
  python training/experiment.py by-construction --budget 0.5 --seeds 2 --run runs/built
  python training/experiment.py family --data fashion_mnist --budget 0.2
  python training/experiment.py degradation --data fashion_mnist --budget 0.02 --set image_size=16
"""


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.Parser(prog="experiment.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    p.add_argument("name", metavar="NAME", help="which experiment; see below")
    p.add_argument("--budget", type=cli.budget, default=1.0, metavar="F", help="fraction of the epochs; default 1")
    p.add_argument("--seeds", type=cli.positive_int, metavar="N", help="runs of each network; default 3 or 1")
    p.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of all recipes")
    p.add_argument("--data", default="digits", metavar="WHAT", help="as in fit.py")
    p.add_argument("--run", type=Path, metavar="DIR", help="folder; default: runs/experiment-NAME-DATA")
    return p


def main() -> None:
    args = parser().parse_args()
    cli.import_keras_quietly()
    with errors.usage_errors():
        from training.engine.backends import backend
        from training.experiments import experiment
        from training.experiments.runner import ExperimentSpec, run_experiment
        from training.report.folder import data_name

        found = experiment(args.name)
        folder = args.run or Path("runs") / f"experiment-{found.name}-{data_name(args.data)}"
        command = shlex.join(["python", "training/experiment.py", *cli.words_without_run()])
        order = ExperimentSpec(args.data, args.budget, args.seeds or found.seeds, folder, command, tuple(args.set))
        compute = backend.choose(None, "auto", "auto", False)
    try:
        report = run_experiment(found, order, compute, lambda line: print(line, flush=True))
    except (KeyboardInterrupt, cli.Terminated) as error:
        raise type(error)(f"continue with: {cli.resume_command(folder)}") from None
    print(f"done: {report}")


if __name__ == "__main__":
    cli.run_command(main)
