"""Measures speed, ours against others in one run: python training/benchmark.py [--arch NAME,...] [--mode MODE,...]

Every contestant has a process of its own; rounds are taken in turn, so that a slow minute of the machine hits all
of them. A ratio is how many times faster the first contestant is, the median of the rounds' own ratios.
"""

import json
import os
import shlex
import sys
from pathlib import Path

from training import cli, errors

EXAMPLES = """examples:
  python training/benchmark.py --arch resnet50_v1 --mode train --against keras_applications,stock,torch
  python training/benchmark.py --arch resnet50_v1,repvgg_a0 --mode infer,fused --batch-size 1 --json fast.json
  python training/benchmark.py --mode input
  KERAS_BACKEND=jax python training/benchmark.py --arch resnet50 --precision bfloat16 --batch-size 256
"""
FORWARD = ("infer", "fused", "eager", "predict", "saved_model", "tflite", "dense", "crops")


def parser() -> cli.Parser:
    """The options of this door."""
    from training.bench.task import ENGINES, MODES

    listed = "\n".join(
        f"  {name:20}{what}" for name, what in (*MODES.items(), *ENGINES.items()) if name != "matmul"
    )
    p = cli.Parser(prog="benchmark.py", description=__doc__, epilog=f"{EXAMPLES}\nmodes and engines:\n{listed}")
    p.add_argument("--arch", default="resnet50_v1", metavar="NAME,...", help="networks; default resnet50_v1")
    p.add_argument("--mode", default="train,infer,fused", metavar="MODE,...", help="default train,infer,fused")
    p.add_argument("--against", default="", metavar="ENGINE,...", help="opponents, of the list below")
    p.add_argument("--batch-size", type=cli.positive_int, default=16, metavar="N", help="default 16")
    p.add_argument("--image-size", type=cli.positive_int, metavar="N", help="default: the network's own")
    p.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float16"))
    p.add_argument("--xla", default="off", choices=("on", "off"))
    p.add_argument("--rounds", type=cli.positive_int, default=5, metavar="N", help="default 5")
    p.add_argument("--json", type=Path, metavar="FILE", help="also write all records here")
    return p


def main() -> None:
    args = parser().parse_args()
    with errors.usage_errors():
        modes, engines, archs = checked(args)
    if args.json and not args.json.parent.is_dir():
        raise errors.UsageError(f"--json: no folder {str(args.json.parent)!r}")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # this process builds networks only
    cli.import_keras_quietly()
    from training.bench import interleaved, records
    from training.report import environment

    about = {"command": shlex.join(["python", *sys.argv]), **environment.machine()}
    print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    found, tops = [], None
    for title, tasks in disciplines(args, modes, engines, archs):
        if tops is None:
            tops = interleaved.peaks(tasks, say=tell)
        print(f"\n{title}", flush=True)
        contestants = interleaved.compete(tasks, args.rounds, say=tell)
        sizes = measured(tasks[0])
        new = [records.record(c, contestants[0], sizes, tops.get(c.task.precision)) for c in contestants]
        print(records.table(new), flush=True)
        found += new
        if args.json:
            args.json.write_text(json.dumps({**about, "results": found}, indent=1) + "\n", encoding="utf-8")
    if all("error" in r for r in found):
        raise errors.RunError("nothing could be measured")


def tell(line: str) -> None:
    """Progress, on standard error so that the table can be piped."""
    print(line, file=sys.stderr, flush=True)


def checked(args) -> tuple[list[str], list[str], list[str]]:
    """Modes, engines and networks, or a ValueError."""
    from keras_cnns import zoo
    from keras_cnns.errors import unknown
    from training.bench.task import ENGINES, MODES

    found = []
    for what, text, known in (("mode", args.mode, MODES), ("engine", args.against, ENGINES)):
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                raise ValueError(unknown(what, name, known))
        found.append(names)
    archs = [name for name in args.arch.split(",") if name]
    for name in archs:
        a = zoo.architecture(name)
        if args.image_size and args.image_size < a.min_size:
            raise ValueError(f"{name} takes at least {a.min_size} pixels a side; {args.image_size} came")
    if not found[0] or not archs:
        raise ValueError("give at least one mode and one network")
    return (*found, archs)


def disciplines(args, modes, engines, archs):
    """(title, tasks) one after the other; all ways of inference meet in one discipline."""
    from keras_cnns import zoo
    from training.bench.task import FIELDS, Task

    for arch in archs:
        size = args.image_size or zoo.architecture(arch).input_shape[0]
        options = {
            "arch": arch,
            "batch": args.batch_size,
            "size": size,
            "precision": args.precision,
            "xla": args.xla == "on",
        }
        for group in groups(modes):
            one = {**options, "batch": 1} if group[0] in ("build", "first_step") else options
            entered = [(e, mode) for e in ("ours", *engines, "decoder") for mode in group if e in FIELDS[mode]]
            yield title(arch, "+".join(group), one), [Task(engine=e, mode=mode, **one) for e, mode in entered]


def groups(modes: list[str]) -> list[list[str]]:
    """Modes that compete with one another: all ways of inference together, every other mode alone."""
    forward = [mode for mode in modes if mode in FORWARD]
    return [[mode] for mode in modes if mode not in FORWARD] + ([forward] if forward else [])


def title(arch: str, mode: str, options: dict) -> str:
    """The head line of a discipline."""
    xla = ", XLA" if options["xla"] else ""
    return f"{arch}, {mode}, batch {options['batch']}, {options['size']} pixels, {options['precision']}{xla}"


def measured(task) -> dict:
    """Parameters and multiply-accumulates of a task's network."""
    from keras_cnns import measure, zoo

    a = zoo.architecture(task.arch)
    found = measure(a(input_shape=(task.size, task.size, a.input_shape[-1])))
    return {"params": found.params, "macs": found.macs}


if __name__ == "__main__":
    cli.run_command(main)
