"""Measures speed, ours and others' in one run: python training/benchmark.py [--arch NAME,...] [--mode MODE,...]

Every competitor has its own process; rounds are measured in turn, so that a slow minute of the machine affects all
of them. A ratio says how many times faster the first competitor is: the median of the rounds' own ratios.
"""

import json
import os
import shlex
import sys

from training import cli, errors

EXAMPLES = """examples:
  python training/benchmark.py --arch resnet50_v1 --mode train --against keras_applications,stock,torch
  python training/benchmark.py --arch resnet50_v1,repvgg_a0 --mode infer,fused --batch-size 1 --json fast.json
  python training/benchmark.py --mode input
  KERAS_BACKEND=jax python training/benchmark.py --arch resnet50 --precision bfloat16 --batch-size 256
"""
FORWARD = ("infer", "fused", "eager", "predict", "saved_model", "tflite", "dense", "crops")


def parser() -> cli.Parser:
    """The options of this command."""
    from training.bench.workload import ENGINES, MODES

    listed = "\n".join(
        f"  {name:20}{what}" for name, what in (*MODES.items(), *ENGINES.items()) if name != "matmul"
    )
    p = cli.Parser(prog="benchmark.py", description=__doc__, epilog=f"{EXAMPLES}\nmodes and engines:\n{listed}")
    p.add_argument("--arch", default="resnet50_v1", metavar="NAME,...", help="networks; default resnet50_v1")
    p.add_argument("--mode", default="train,infer,fused", metavar="MODE,...", help="default train,infer,fused")
    p.add_argument("--against", default="", metavar="ENGINE,...", help="competitors, from the list below")
    p.add_argument("--batch-size", type=cli.positive_int, default=16, metavar="N", help="default 16")
    p.add_argument("--image-size", type=cli.positive_int, metavar="N", help="default: the network's own")
    p.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float16"))
    p.add_argument("--xla", default="off", choices=("on", "off"))
    p.add_argument("--rounds", type=cli.positive_int, default=5, metavar="N", help="default 5")
    p.add_argument("--json", type=cli.new_file, metavar="FILE", help="also write all records to this file")
    return p


def main() -> None:
    args = parser().parse_args()
    with errors.usage_errors():
        modes, engines, archs = check_names(args)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # this process builds networks only
    cli.import_keras_quietly()
    from training.bench import interleaved, records
    from training.report import environment

    about = {"command": shlex.join(["python", *sys.argv]), **environment.machine()}
    print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    results, peaks = [], None
    for title, workloads in list_comparisons(args, modes, engines, archs):
        if peaks is None:
            peaks = interleaved.measure_peak_flops(workloads, say=log)
        print(f"\n{title}", flush=True)
        competitors = interleaved.measure(workloads, args.rounds, say=log)
        sizes = measure_size(workloads[0])
        new = [records.make_record(c, competitors[0], sizes, peaks.get(c.workload.precision)) for c in competitors]
        print(records.format_table(new), flush=True)
        results += new
        if args.json:
            args.json.write_text(json.dumps({**about, "results": results}, indent=1) + "\n", encoding="utf-8")
    if all("error" in r for r in results):
        raise errors.RunError("nothing could be measured")


def log(line: str) -> None:
    """Progress, on standard error so that the table can be piped."""
    print(line, file=sys.stderr, flush=True)


def check_names(args) -> tuple[list[str], list[str], list[str]]:
    """Modes, engines and networks. Raises ValueError for an unknown name."""
    from keras_cnns import zoo
    from keras_cnns.errors import unknown
    from training.bench.workload import ENGINES, MODES

    texts = (args.mode, args.against, args.arch)
    modes, engines, archs = ([name for name in text.split(",") if name] for text in texts)
    for what, names, known in (("mode", modes, MODES), ("engine", engines, ENGINES)):
        for name in names:
            if name not in known:
                raise ValueError(unknown(what, name, known))
    for name in archs:
        a = zoo.architecture(name)
        if args.image_size and args.image_size < a.min_size:
            raise ValueError(f"{name} takes at least {a.min_size} pixels a side, got {args.image_size}")
    if not modes or not archs:
        raise ValueError("give at least one mode and one network")
    return modes, engines, archs


def list_comparisons(args, modes, engines, archs):
    """(title, workloads), one after the other; all forward modes are compared with one another."""
    from keras_cnns import zoo
    from training.bench.workload import ENGINES_OF_MODE, Workload

    forward = [mode for mode in modes if mode in FORWARD]
    groups = [[mode] for mode in modes if mode not in FORWARD] + ([forward] if forward else [])
    for arch in archs:
        for group in groups:
            options = {
                "arch": arch,
                "batch": 1 if group[0] in ("build", "first_step") else args.batch_size,
                "size": args.image_size or zoo.architecture(arch).input_shape[0],
                "precision": args.precision,
                "xla": args.xla == "on",
            }
            pairs = [(e, m) for e in ("ours", *engines, "decoder") for m in group if e in ENGINES_OF_MODE[m]]
            title = (
                f"{arch}, {'+'.join(group)}, batch {options['batch']}, {options['size']} pixels, {args.precision}"
            )
            title += ", XLA" if options["xla"] else ""
            yield title, [Workload(engine=e, mode=m, **options) for e, m in pairs]


def measure_size(workload) -> dict:
    """Parameters and multiply-accumulates of a workload's network."""
    from keras_cnns import measure, zoo

    a = zoo.architecture(workload.arch)
    found = measure(a(input_shape=(workload.size, workload.size, a.input_shape[-1])))
    return {"params": found.params, "macs": found.macs}


if __name__ == "__main__":
    cli.run_command(main)
