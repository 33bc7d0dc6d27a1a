"""Measures a trained network on the test split: python training/evaluate.py --run DIR [--data WHAT]

With several --run the networks are an ensemble: their probabilities are averaged.
"""

import json
from pathlib import Path

from training import door

EXAMPLES = """examples:
  python training/evaluate.py --run runs/resnet20-digits-1
  python training/evaluate.py --run runs/a --run runs/b --split val
  python training/evaluate.py --arch resnet20 --weights my.weights.h5 --data digits
"""


def parser() -> door.Parser:
    """The options of this door."""
    p = door.Parser(prog="evaluate.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    p.add_argument("--run", type=Path, action="append", default=[], metavar="DIR", help="run folder; repeatable")
    p.add_argument("--arch", metavar="NAME", help="a network of the zoo, with --weights")
    p.add_argument("--weights", metavar="PATH", help=".weights.h5 or .keras file")
    p.add_argument("--data", metavar="WHAT", help="as in fit.py; default: the run's own")
    p.add_argument("--split", default="test", choices=("train", "val", "test"), help="default: test")
    p.add_argument("--json", action="store_true", help="print JSON")
    return p


def main() -> None:
    args = parser().parse_args()
    door.quiet()
    with door.arguments():
        from training.data import sources
        from training.engine import loading, scoring

        if args.arch and args.weights and not args.data:
            raise ValueError("--data is needed with --arch: which images to measure on")
        data = sources.load(args.data) if args.data else None
        networks = loading.choose(args.run, args.arch, args.weights, data and data.classes)
        name = args.data or networks[0].data
        data = data or sources.load(name)
        networks = [loading.with_classes(n, data.classes) for n in networks]
    outputs = [_logits(n, getattr(data, args.split)) for n in networks]
    figures = scoring.measure(*scoring.ensemble(outputs), networks[0].loss)
    if args.json:
        print(json.dumps({"data": name, "split": args.split, "runs": [n.name for n in networks], **figures}))
        return
    for network in networks:
        print(network.name)
    print(
        f"{name}, {args.split} split: top-1 {figures['top1']:.4f} (n={figures['n']}), "
        f"top-5 {figures['top5']:.4f}, loss {figures['loss']:.4f}"
    )


def _logits(network, split):
    """(logits, labels) of a split, as the network is fed it."""
    from training.engine import scoring

    return scoring.split_logits(
        scoring.forward(scoring.logits_model(network.model)),
        split,
        size=network.size,
        channels=network.channels,
        preprocess=network.preprocessing,
        crop=network.crop,
        views=network.views,
    )


if __name__ == "__main__":
    door.enter(main)
