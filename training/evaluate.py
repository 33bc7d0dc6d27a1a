"""Measures a trained network on the test split: python training/evaluate.py --run DIR [--data WHAT]

With --arch and a tag of known weights it repeats the published evaluation: size, crop, filter, preprocessing.
Several --run make an ensemble: their probabilities are averaged.
"""

import json
import sys
from pathlib import Path

from training import cli, errors

EXAMPLES = """examples:
  python training/evaluate.py --run runs/resnet20-digits-1
  python training/evaluate.py --run runs/a --run runs/b --split val
  python training/evaluate.py --arch resnet20 --weights my.weights.h5 --data digits
  python training/evaluate.py --arch resnet50 --weights timm/resnet50.a1_in1k --data imagenet/val
"""


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.Parser(prog="evaluate.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    cli.add_network_options(p)
    p.add_argument("--data", metavar="WHAT", help="as in fit.py; default: the run's own")
    p.add_argument(
        "--split",
        choices=("train", "val", "test"),
        help="default: test; with --arch, of a folder without one: val, or all images",
    )
    p.add_argument("--json", action="store_true", help="print JSON")
    return p


def main() -> None:
    args = parser().parse_args()
    cli.import_keras_quietly()
    cli.log_to_stderr()
    with errors.usage_errors():
        from training.classification import evaluation, trained
        from training.engine.backends import backend

        if args.arch and args.weights and not args.data:
            raise ValueError("--arch needs --data: the images to measure on")
        found = _images(args.data, args) if args.data else None
        networks = trained.load_networks(args.run, args.arch, args.weights, found and found[0])
        name = args.data or networks[0].data
        classes, split, what = found or _images(name, args)
        pairs = [trained.with_labels_of(n, classes, split) for n in networks]
    outputs = [
        evaluation.split_logits(
            backend.forward(evaluation.logits_model(n.model)),
            split,
            size=n.size,
            channels=n.channels,
            preprocess=n.preprocessing,
            crop=n.crop,
            views=n.views,
        )
        for n, split in pairs
    ]
    figures = evaluation.measure(*evaluation.ensemble(outputs), networks[0].loss)
    if args.json:
        print(json.dumps({"data": name, "split": what, "runs": [n.name for n in networks], **figures}))
        return
    for network in networks:
        print(network.name)
    print(
        f"{name}, {what} split: top-1 {figures['top1']:.4f} (n={figures['n']}), "
        f"top-5 {figures['top5']:.4f}, loss {figures['loss']:.4f}"
    )


def _images(name: str, args):
    """(classes, split, name of the split) to measure on."""
    from training.data import folder, idx, sources

    path = Path(name).expanduser()
    if args.arch and path.is_dir() and not idx.find(path):
        classes, split, what, notes = folder.to_measure(path, args.split)
        for note in notes:
            print(note, file=sys.stderr)
        return classes, split, what
    data, split = sources.load(name), args.split or "test"
    return data.classes, getattr(data, split), split


if __name__ == "__main__":
    cli.run_command(main)
