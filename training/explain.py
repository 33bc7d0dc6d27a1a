"""Draws what goes on inside a trained network: python training/explain.py --run DIR [IMAGE...]

With --arch and --weights (a tag, "imagenet" for the best, or a file) a network of the zoo is looked at. Without
images some of the data's test split are taken.
"""

import sys
from pathlib import Path

from training import cli, errors

EXAMPLES = """examples:
  python training/explain.py --run runs/resnet20-digits-1
  python training/explain.py --run runs/lenet5-digits-1 --what layers digit.png
  python training/explain.py --arch resnet50 --weights imagenet --what heat,places --out seen photo.jpg
what there is to see:
  filters    the first layer's kernels          towers     the AlexNet of 2012: both towers and their colours
  heat       Grad-CAM over the images           maps       feature maps of every stage
  places     class scores all over a photo      layers     LeNet-5 (1998) layer by layer
  nearest    alike images, found three ways     projector  features for TensorBoard, PCA and t-SNE
"""
WHAT = ("filters", "towers", "heat", "maps", "places", "layers", "nearest", "projector")
TAKEN = 8


def parser() -> cli.Parser:
    """The options of this door."""
    p = cli.Parser(prog="explain.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    p.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="files, or folders of files")
    p.add_argument("--run", type=Path, metavar="DIR", help="run folder")
    p.add_argument("--arch", metavar="NAME", help="a network of the zoo, with --weights")
    p.add_argument("--weights", metavar="TAG_OR_PATH", help="known weights, or a file")
    p.add_argument("--data", metavar="WHAT", help="as in fit.py; default: the run's own")
    p.add_argument("--what", metavar="NAME,...", help="what to draw; default: all that goes with the network")
    p.add_argument("--out", type=Path, metavar="DIR", help="default: RUN/explain, or explain")
    return p


def main() -> None:
    args = parser().parse_args()
    with errors.usage_errors():
        paths = list(cli.image_files(args.images))
    cli.import_keras_quietly()
    cli.log_to_stderr()
    with errors.usage_errors():
        wanted = _wanted(args.what)

        from training.classification import trained
        from training.data import sources
        from training.visualize import views

        (network,) = trained.load_networks([args.run] if args.run else [], args.arch, args.weights)
        name = args.data or network.data
        data = sources.load(name) if name else None
        out = args.out or (args.run / "explain" if args.run else Path("explain"))
        out.mkdir(parents=True, exist_ok=True)
        images = list(_read(paths)) if paths else _taken(data)
        subject = views.Context(network, images, data, out, print)
    for what in wanted:
        try:
            _ways()[what](subject)
        except views.NotApplicable as error:
            if args.what:
                raise errors.UsageError(f"{what}: {error}") from None
            print(f"left out: {what}: {error}", file=sys.stderr)


def _wanted(asked: str | None) -> tuple[str, ...]:
    """Names from --what, checked."""
    from keras_cnns.errors import unknown

    names = tuple(n.strip() for n in asked.split(",")) if asked else WHAT
    for name in names:
        if name not in WHAT:
            raise ValueError(unknown("subject", name, WHAT))
    return names


def _ways() -> dict:
    """Name -> function."""
    from training.visualize import neighbours, views

    return {
        "filters": views.filters,
        "towers": views.two_towers,
        "heat": views.gradcam,
        "maps": views.maps,
        "places": views.class_map,
        "layers": views.lenet_walk,
        "nearest": neighbours.nearest,
        "projector": neighbours.projector,
    }


def _read(paths: list[Path]):
    """(name, image) of all that can be read; ValueError if none can."""
    from training.data.folder import read

    found = [(path, *read(str(path))[:2]) for path in paths]
    for path, _, reason in found:
        if reason:
            print(f"left out: {path}: {reason}", file=sys.stderr)
    good = [(str(path), image) for path, image, reason in found if not reason]
    if not good:
        raise ValueError(f"none of {len(paths)} files is a readable image")
    return good


def _taken(data) -> list:
    """The first test image of each of the first classes."""
    if data is None:
        return []
    labels = data.test.labels.tolist()
    return [
        (f"{data.name}-{label}", data.test.images[labels.index(label)]) for label in sorted(set(labels))[:TAKEN]
    ]


if __name__ == "__main__":
    cli.run_command(main)
