"""Searches dimensions and recipes with KerasTuner: python training/tune.py --arch NAME --space width,depth --run DIR

Every trial is an ordinary run folder. Killed at any time, the same command goes on where it stopped.
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from training import door
from training.ports import free_ports

EXAMPLES = """examples:
  python training/tune.py --arch resnet20 --space width,depth,gate --trials 12 --epochs 3 --run runs/search
  python training/tune.py --arch resnext29_8x64d --space resnext,recipe.rate --parallel 2 --run runs/cardinality
  python training/tune.py --arch wrn16_4 --space wrn --max-macs 1e8 --objective pareto:params --tuner bayesian
  python training/tune.py --arch resnet20 --space depth=1..5,row.unit.gate=no_gate/squeeze_excite,recipe.optimizer.rate=0.01..0.2
"""
TURN = 0.5  # seconds between two looks at the trials


def parser() -> door.Parser:
    """The options of this door."""
    p = door.Parser(prog="tune.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES + _ready())
    what = p.add_argument_group("what")
    what.add_argument("--arch", default="resnet20", metavar="NAME", help="network to start from; default resnet20")
    what.add_argument("--data", default="digits", metavar="WHAT", help="as in fit.py; default: the digits")
    what.add_argument("--space", metavar="NAME[=VALUES],...", help="dimensions; `list` shows those of --arch")
    what.add_argument(
        "--constant", choices=("none", "macs", "params"), default="none", help="fit the width to the base's cost"
    )
    what.add_argument("--recipe", metavar="NAME", help="as in fit.py, the same for all trials")
    what.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="field of the recipe")
    what.add_argument("--epochs", type=door.positive, metavar="N", help="of a trial; Hyperband's longest")
    what.add_argument("--batch-size", type=door.positive, metavar="N", help="images a step")
    what.add_argument("--seed", type=door.seed, default=0, metavar="N", help="of trials and proposals; default 0")
    how = p.add_argument_group("how")
    how.add_argument("--trials", type=door.positive, metavar="N", help="default 20, or as many as Hyperband takes")
    how.add_argument("--tuner", default="random", choices=("random", "bayesian", "hyperband"))
    how.add_argument(
        "--objective",
        default="accuracy",
        metavar="WHAT",
        help="accuracy (on the validation split), accuracy-0.02*macs (less for every doubling), pareto:params",
    )
    how.add_argument("--max-params", type=door.amount, metavar="X", help="trainable parameters: 300000, 3e5")
    how.add_argument("--max-macs", type=door.amount, metavar="X", help="multiply-accumulates of an image")
    how.add_argument("--max-latency-ms", type=door.amount, metavar="X", help="here, fused, one image at a time")
    where = p.add_argument_group("where")
    where.add_argument("--run", type=Path, metavar="DIR", help="folder of the search; default: the next in runs/")
    where.add_argument("--parallel", type=door.whole, default=1, metavar="N", help="processes; default 1")
    where.add_argument("--keep", type=door.positive, default=3, metavar="K", help="weights of the best; default 3")
    where.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    where.add_argument(
        "--save-every", type=door.interval, default="10m", metavar="T", help="within an epoch, as in fit.py"
    )
    return p


def _ready() -> str:
    """The ready spaces, for --help; the module that has them takes seconds to import."""
    if "--help" not in sys.argv and "-h" not in sys.argv:
        return ""
    door.quiet()
    from training.search.space import READY

    return "\nready spaces:\n" + "".join(
        f"  {name:10}{what}: {terms}\n" for name, (terms, _, what) in READY.items()
    )


def main() -> None:
    args = parser().parse_args()
    door.quiet()
    with door.arguments():
        from training.search.chief import role

        part = role()
        if args.space == "list":
            show_dimensions(args)
            return
        if part == "worker":
            work(args)
            return
        if not args.parallel and part != "chief":
            raise ValueError("--parallel 0, no workers here, is for a chief whose workers are elsewhere")
        search, sizes, notes = prepare(args)
        root = folder(args, search)
    lead(args, root, search, sizes, notes)


def show_dimensions(args) -> None:
    """Prints what can be searched of a network."""
    from keras_cnns import zoo
    from keras_cnns.dimensions import dimensions
    from keras_cnns.spaces import Choice, label
    from training.search.space import READY, USUAL

    found = dimensions(zoo.architecture(args.arch))
    for d in found.values():
        domain = d.domain
        usual = (
            "/".join(map(label, domain.options)) if isinstance(domain, Choice) else f"{domain.low}..{domain.high}"
        )
        print(f"{d.name:14}{usual:28}now {label(d.now)}: {d.what}")
    fields = ", ".join(f"recipe.{name}" for name in ("rate", "optimizer", "strength", *USUAL))
    print(
        f"{len(found)} dimensions of {args.arch}; besides {fields}, row.FIELD=..., seed, split, {', '.join(READY)}"
    )


def prepare(args):
    """Arguments -> (search, what counts sizes, lines for the log). Raises ValueError for a bad argument."""
    from keras_cnns import __version__, zoo
    from training import recipes
    from training.data import sources
    from training.engine.backends import HERE
    from training.engine.start import configure
    from training.search import objective
    from training.search.limits import Limits
    from training.search.plan import Search
    from training.search.proposals import Proposals
    from training.search.sizes import Sizes
    from training.search.space import Candidate, parse

    if HERE.name != "tensorflow":
        raise ValueError(f"tune.py runs on TensorFlow; KERAS_BACKEND={HERE.name} came")
    architecture = zoo.architecture(args.arch)
    recipes.check_name(args.recipe)
    goal = objective.parse(args.objective)
    if not args.space:
        raise ValueError("--space is needed, as --space width,depth; --space list shows what there is")
    data = sources.load(args.data)
    recipe = recipes.choose(architecture, data, args.data, args.recipe, args.epochs, None)
    if args.batch_size:
        recipe = replace(recipe, batch_size=args.batch_size)
    for setting in args.set:
        recipe = recipe.with_setting(setting)
    chosen = HERE.choose(1, args.precision, "auto", False)
    config = configure(architecture, recipe, data, args.data, chosen, args.seed)
    space = parse(args.space, Candidate(architecture, recipe, args.data, args.seed), args.constant)
    search = Search(
        space=space,
        tuner=args.tuner,
        objective=goal,
        limits=Limits(args.max_params, args.max_macs, args.max_latency_ms),
        seed=args.seed,
        classes=len(data.classes),
        image_size=config.image_size,
        channels=config.channels,
        precision=args.precision,
        version=__version__,
    )
    sizes = Sizes(config.image_size, config.channels, len(data.classes))
    Proposals(search, sizes).first()
    size = "any number of" if space.size is None else f"{space.size:,}"
    names = ", ".join(term.name for term in space.terms)
    notes = [f"space: {size} choices of {names}; {recipe.name}, {recipe.epochs} epochs a trial; {chosen.why}"]
    return search, sizes, notes


def folder(args, search) -> Path:
    """The folder of the search, new or to go on in. Raises ValueError where it holds something else."""
    from training.report.folder import next_folder
    from training.search import plan
    from training.search.trials import FOLDER

    if args.run is None:
        return next_folder(Path("runs"), f"search-{args.arch}", args.data)
    root = args.run
    if root.exists() and not root.is_dir():
        raise ValueError(f"--run wants a folder; {str(root)!r} is a file")
    if root.is_dir() and not (root / plan.NAME).exists():
        others = {p.name for p in root.iterdir()} - {FOLDER, "lock"}
        if others and not (root / FOLDER).is_dir():
            raise ValueError(f"--run wants a new, an empty or a search's folder; {str(root)!r} holds other files")
    try:
        before = plan.read(root) if root.is_dir() else None
    except ValueError as error:
        print(f"{error}; it is written again", flush=True)
        return root
    different = plan.differences(before, search) if before else []
    if different:
        raise ValueError(f"{root} holds another search ({'; '.join(different)}); give another --run")
    return root


def lead(args, root: Path, search, sizes, notes) -> None:
    """Proposes, watches the workers, shows and writes what comes."""
    from training.engine.lock import Busy, Lock
    from training.report.folder import Log
    from training.search import chief, plan
    from training.search import trials as folders
    from training.search.proposals import Proposals, oracle, record_trial
    from training.search.table import Table

    root.mkdir(parents=True, exist_ok=True)
    try:
        held = Lock(root, f"another search is at work in {root} ({{holder}}); give another --run")
    except Busy as error:
        raise door.Refusal(str(error)) from None
    with held, Log(root / "log.txt", sys.stdout) as log:
        log(f"search: {root} ({args.arch})")
        for note in notes:
            log(note)
        plan.write(search, root)
        fresh = Proposals(search, sizes)
        past = folders.read_all(root, lambda number, picks: record_trial(root, fresh, number, picks), log)
        score(search, past)
        ended = sum(t.status != "open" for t in past)
        if past:
            log(f"going on: {ended} trials have ended, {len(past) - ended} are open")
        count = args.trials or (None if search.tuner == "hyperband" else 20)
        made = oracle(root, search, Proposals(search, sizes, past), past, count)
        show = Table(sys.stdout, search.space.names, count)
        watcher = Watcher(args, root, search, show, past)
        if count is None or ended < count:
            _address(chief)
            server = chief.Chief(root, made)
            server.serve()
            here = [sys.executable, str(Path(__file__).resolve()), "--run", str(root.resolve()), "--save-every"]
            steps, seconds = args.save_every
            here.append(str(steps) if steps else f"{seconds:g}s")
            workers = chief.Workers(root, args.parallel, here, server, show.say)
            try:
                with chief.stopping(workers):
                    while workers.look() or (not args.parallel and server.serves()):
                        watcher.look()
                        time.sleep(TURN)
            except (KeyboardInterrupt, door.Terminated) as error:
                watcher.finish()
                raise type(error)(f"continue with: {door.again(root)}") from None
        watcher.finish()
        conclude(root, search, watcher.trials, count, log)


def _address(chief) -> None:
    """Where KerasTuner's chief listens: where its environment variables say, else at this machine's own address."""
    if chief.role() == "alone":
        port = str(free_ports(1)[0])
        os.environ |= dict(zip(chief.VARIABLES, ("chief", "127.0.0.1", port), strict=True))


def score(search, trials) -> None:
    """Gives finished trials their score."""
    from training.search.proposals import score_of

    for trial in trials:
        if trial.status == "done":
            trial.score = score_of(search, trial)


class Watcher:
    """Reads the trials' folders again and again; after each end writes the table, the best, and frees the disk."""

    def __init__(self, args, root: Path, search, show, past):
        self.args, self.root, self.search, self.show = args, root, search, show
        self.trials, self.ended = past, -1

    def look(self) -> None:
        """After a moment."""
        from training.search import report
        from training.search import trials as folders

        known = {t.number: t for t in self.trials}
        for path in sorted((self.root / folders.FOLDER).glob("[0-9]*")):
            if int(path.name) not in known and (path / "trial.json").is_file():
                self.trials.append(folders.read(path))
        for trial in self.trials:
            if trial.status == "open":
                folders.refresh(trial)
        score(self.search, self.trials)
        ended = sum(t.status != "open" for t in self.trials)
        if ended != self.ended:
            self.ended = ended
            folders.prune(self.trials, self.args.keep)
            report.write_best(self.root, self.trials)
            report.write_table(self.root, self.search, self.trials)
        self.show.show(self.trials)

    def finish(self) -> None:
        """The last look, pictures and report."""
        from training.search import report

        self.look()
        command = " ".join(["python", "training/tune.py", *sys.argv[1:]])
        report.write_all(self.root, self.search, self.trials, command)


def conclude(root: Path, search, trials, count: int | None, log) -> None:
    """The last lines. Raises Failure if no trial has a result."""
    from training.search.report import again
    from training.search.trials import ranked

    best, failed = ranked(trials), sum(t.status == "failed" for t in trials)
    if count is not None and len(trials) < count:
        log(f"nothing new and allowed is left in this space: {len(trials)} trials instead of {count}")
    if not best:
        raise door.Failure(f"all {failed} trials failed; {root / 'report.md'} says why")
    log(f"train the best again: {again(root)}")
    top, test = best[0], best[0].result["test"]
    chosen = ", ".join(f"{name}={value}" for name, value in top.chosen.items())
    log(
        f"done: {len(best)} trials, {failed} failed, best {top.folder.name} ({chosen}): val top-1 {top.top1:.4f} "
        f"(n={top.result['val']['n']}), test top-1 {test['top1']:.4f} (n={test['n']}), search {root}"
    )


def work(args) -> None:
    """A worker: trains what the chief gives, until there is no more."""
    from keras_tuner.errors import FatalError

    from training.engine.saving import Every
    from training.search import plan
    from training.search.worker import WATCH, Worker, watch_parent

    if os.environ.get(WATCH):
        watch_parent()
    if args.run is None:
        raise ValueError("a worker needs --run, the folder of the search, which it shares with the chief")
    search = plan.read(args.run)
    if search is None:
        raise ValueError(f"no search in {str(args.run)!r} yet: start the chief first")
    try:
        Worker(args.run, search, Every(*args.save_every)).search()
    except FatalError as error:
        raise door.Failure(str(error)) from error


if __name__ == "__main__":
    door.enter(main)
