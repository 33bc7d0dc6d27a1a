"""Searches dimensions and recipes with KerasTuner: python training/tune.py --arch NAME --space width,depth

Every trial is an ordinary run folder. The same command continues an interrupted search.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from training import cli, errors

EXAMPLES = """examples:
  python training/tune.py --arch resnet20 --space width,depth,gate --trials 12 --epochs 3 --run runs/search
  python training/tune.py --arch resnext29_8x64d --space resnext,recipe.rate --parallel 2 --run runs/cardinality
  python training/tune.py --arch wrn16_4 --space wrn --max-macs 1e8 --objective pareto:params --tuner bayesian
  python training/tune.py --space depth=1..5,row.unit.gate=no_gate/squeeze_excite,recipe.rate=0.01..0.2
"""


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.Parser(prog="tune.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES + _ready())
    what = p.add_argument_group("what")
    what.add_argument("--arch", default="resnet20", metavar="NAME", help="network to start from; default resnet20")
    what.add_argument("--data", default="digits", metavar="WHAT", help="as in fit.py; default: the digits")
    what.add_argument("--space", metavar="NAME[=VALUES],...", help="dimensions; `list` shows those of --arch")
    costs = ("none", "macs", "params")
    what.add_argument("--constant", choices=costs, default="none", help="fit the width to this cost of --arch")
    what.add_argument("--recipe", metavar="NAME", help="as in fit.py, the same for all trials")
    what.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="field of the recipe")
    what.add_argument("--epochs", type=cli.positive_int, metavar="N", help="of a trial; Hyperband's longest")
    what.add_argument("--batch-size", type=cli.positive_int, metavar="N", help="images a step")
    what.add_argument("--seed", type=cli.seed, default=0, metavar="N", help="of trials and oracle; default 0")
    how = p.add_argument_group("how")
    how.add_argument("--trials", type=cli.positive_int, metavar="N", help="default 20; Hyperband: all it needs")
    how.add_argument("--tuner", default="random", choices=("random", "bayesian", "hyperband"))
    ways = "accuracy (on the validation split), accuracy-0.02*macs (less for every doubling), pareto:params"
    how.add_argument("--objective", default="accuracy", metavar="WHAT", help=ways)
    bound = {"type": cli.positive_number, "metavar": "X"}
    how.add_argument("--max-params", **bound, help="trainable parameters: 300000, 3e5")
    how.add_argument("--max-macs", **bound, help="multiply-accumulates of an image")
    how.add_argument("--max-latency-ms", **bound, help="on this machine, fused, one image at a time")
    where = p.add_argument_group("where")
    where.add_argument("--run", type=Path, metavar="DIR", help="folder of the search; default: the next in runs/")
    where.add_argument("--parallel", type=cli.non_negative_int, default=1, metavar="N", help="workers; default 1")
    where.add_argument(
        "--keep", type=cli.positive_int, default=3, metavar="K", help="best weights kept; default 3"
    )
    where.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    where.add_argument("--save-every", type=cli.interval, default="10m", metavar="T", help="as in fit.py")
    return p


def _ready() -> str:
    """The ready spaces, for --help only: their module takes seconds to import."""
    if "--help" not in sys.argv and "-h" not in sys.argv:
        return ""
    cli.import_keras_quietly()
    from training.search.space_parser import READY

    lines = [f"  {name:10}{what}: {terms}\n" for name, (terms, _, what) in READY.items()]
    return "\nready spaces:\n" + "".join(lines)


def main() -> None:
    args = parser().parse_args()
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # the chief, and workers that share a GPU
    cli.import_keras_quietly()
    with errors.usage_errors():
        from training.search.chief import role

        part = role()
        if args.space == "list":
            show_dimensions(args)
            return
        if part == "worker":
            work(args)
            return
        if not args.parallel and part != "chief":
            raise ValueError("--parallel 0 is for a chief whose workers run elsewhere")
        search, costs, note = prepare(args)
        from training.search.coordinator import SearchBudget, coordinate, find_folder

        root = find_folder(args.run, search, costs)
    budget = SearchBudget(args.trials, args.parallel, args.keep, args.save_every)
    try:
        coordinate(root, search, costs, note, budget)
    except (KeyboardInterrupt, cli.Terminated) as error:
        raise type(error)(f"continue with: {cli.resume_command(root)}") from None


def show_dimensions(args) -> None:
    """Prints the dimensions of a network."""
    from keras_cnns import zoo
    from keras_cnns.dimensions import dimensions
    from keras_cnns.spaces import Choice, label
    from training.search.space_parser import READY, USUAL

    found = dimensions(zoo.architecture(args.arch))
    for d in found.values():
        listed = isinstance(d.domain, Choice)
        usual = "/".join(map(label, d.domain.options)) if listed else f"{d.domain.low}..{d.domain.high}"
        print(f"{d.name:14}{usual:28}now {label(d.now)}: {d.what}")
    fields = ", ".join(f"recipe.{name}" for name in ("rate", "optimizer", "strength", *USUAL))
    others = f"{fields}, row.FIELD=..., seed, split, {', '.join(READY)}"
    print(f"{len(found)} dimensions of {args.arch}; besides {others}")


def prepare(args):
    """Arguments -> (search, cost model, a line for the log). Raises ValueError for a bad argument."""
    from keras_cnns import __version__, zoo
    from training.classification.setup import configure
    from training.data import sources
    from training.engine.backends import backend
    from training.recipes import defaults
    from training.search import objective
    from training.search.config import SearchConfig
    from training.search.cost import Constraints, CostModel
    from training.search.space import Candidate
    from training.search.space_parser import parse

    if backend.name != "tensorflow":
        raise ValueError(f"tune.py needs KERAS_BACKEND=tensorflow, got {backend.name}")
    architecture = zoo.architecture(args.arch)
    defaults.check_name(args.recipe)
    goal = objective.parse(args.objective)
    if not args.space:
        raise ValueError("--space is needed, as --space width,depth; --space list shows what there is")
    data = sources.load(args.data)
    recipe = defaults.choose(architecture, data, args.data, args.recipe, args.epochs, None)
    if args.batch_size:
        recipe = replace(recipe, batch_size=args.batch_size)
    recipe = recipe.with_settings(*args.set)
    chosen = backend.choose(1, args.precision, "auto", False)
    config = configure(architecture, recipe, data, args.data, chosen, args.seed)
    space = parse(args.space, Candidate(architecture, recipe, args.data, args.seed), args.constant)
    search = SearchConfig(
        space=space,
        tuner=args.tuner,
        objective=goal,
        limits=Constraints(args.max_params, args.max_macs, args.max_latency_ms),
        seed=args.seed,
        classes=len(data.classes),
        image_size=config.image_size,
        channels=config.channels,
        precision=args.precision,
        version=__version__,
    )
    costs = CostModel(config.image_size, config.channels, len(data.classes))
    size = "any number of" if space.size is None else f"{space.size:,}"
    names = ", ".join(term.name for term in space.terms)
    note = f"space: {size} candidates of {names}; {recipe.name}, {recipe.epochs} epochs a trial; {chosen.why}"
    return search, costs, note


def work(args) -> None:
    """A worker: trains the trials of the chief, until none is left."""
    from keras_tuner.errors import FatalError

    from training.search import config as search_config
    from training.search.worker import WATCH, Worker, watch_parent
    from training.trainer.checkpoint_saver import SaveInterval

    if os.environ.get(WATCH):
        watch_parent()
    if args.run is None:
        raise ValueError("a worker needs --run, the folder of the search, shared with the chief")
    search = search_config.read(args.run)
    if search is None:
        raise ValueError(f"no search in {str(args.run)!r} yet: start the chief first")
    try:
        Worker(args.run, search, SaveInterval(*args.save_every)).search()
    except FatalError as error:
        raise errors.RunError(str(error)) from error


if __name__ == "__main__":
    cli.run_command(main)
