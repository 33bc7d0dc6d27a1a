"""Draws what a trained network does: python training/explain.py --run DIR [IMAGE...]

With --arch and --weights (a tag, "imagenet" for the best, or a file) it draws a network of the zoo. Without images
it takes some from the data's test split.
"""

import sys
from pathlib import Path

import numpy as np

from training import cli, errors

EXAMPLES = """examples:
  python training/explain.py --run runs/resnet20-digits-1
  python training/explain.py --run runs/lenet5-digits-1 --what lenet_walk digit.png
  python training/explain.py --arch resnet50 --weights imagenet --what gradcam,class_map --out seen photo.jpg
views:
  filters    the first layer's kernels          towers      the AlexNet of 2012: both towers and their colours
  gradcam    Grad-CAM over the images           maps        feature maps of every stage
  class_map  class scores all over a photo      lenet_walk  LeNet-5 (1998) layer by layer
  nearest    similar images by three methods    projector   features for TensorBoard, PCA and t-SNE
"""
VIEWS = ("filters", "towers", "gradcam", "maps", "class_map", "lenet_walk", "nearest", "projector")
ALIASES = {"heat": "gradcam", "places": "class_map", "layers": "lenet_walk"}  # old names
MAX_DATA_IMAGES = 8


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.Parser(prog="explain.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    p.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="files, or folders of files")
    cli.add_network_options(p, "run folder")
    p.add_argument("--data", metavar="WHAT", help="as in fit.py; default: the run's own")
    p.add_argument("--what", metavar="NAME,...", help="views to draw; default: all that the network has")
    p.add_argument("--out", type=Path, metavar="DIR", help="default: RUN/explain, or explain")
    return p


def main() -> None:
    args = parser().parse_args()
    with errors.usage_errors():
        paths = list(cli.image_files(args.images))
    cli.import_keras_quietly()
    cli.log_to_stderr()
    with errors.usage_errors():
        wanted = _view_names(args.what)
        if len(args.run) > 1:
            raise ValueError(f"--run must be given once, got {len(args.run)} runs")

        from training.classification import trained
        from training.data import sources
        from training.visualize import neighbours, views

        (network,) = trained.load_networks(args.run, args.arch, args.weights)
        name = args.data or network.data
        data = sources.load(name) if name else None
        out = args.out or (args.run[0] / "explain" if args.run else Path("explain"))
        out.mkdir(parents=True, exist_ok=True)
        images = _read_files(paths) if paths else _test_images(data)
        context = views.Context(network, images, data, out, print)
    for name in wanted:
        try:
            getattr(neighbours if name in ("nearest", "projector") else views, name)(context)
        except views.NotApplicable as error:
            if args.what:
                raise errors.UsageError(f"{name}: {error}") from None
            print(f"left out: {name}: {error}", file=sys.stderr)


def _view_names(what: str | None) -> tuple[str, ...]:
    """The names in --what, checked, with old names replaced; by default all."""
    from keras_cnns.errors import unknown

    names = tuple(ALIASES.get(n.strip(), n.strip()) for n in what.split(",")) if what else VIEWS
    for name in names:
        if name not in VIEWS:
            raise ValueError(unknown("view", name, VIEWS))
    return names


def _read_files(paths: list[Path]) -> list:
    """(name, image) of all readable files; ValueError if there are none."""
    from training.data.folder import read

    found = [(path, *read(str(path))[:2]) for path in paths]
    for path, _, reason in found:
        if reason:
            print(f"left out: {path}: {reason}", file=sys.stderr)
    good = [(str(path), image) for path, image, reason in found if not reason]
    if not good:
        raise ValueError(f"none of {len(paths)} files is a readable image")
    return good


def _test_images(data) -> list:
    """The first test image of each of the first eight classes."""
    if data is None:
        return []
    labels, first = np.unique(data.test.labels, return_index=True)
    pairs = list(zip(labels, first, strict=True))[:MAX_DATA_IMAGES]
    return [(f"{data.name}-{label}", data.test.images[i]) for label, i in pairs]


if __name__ == "__main__":
    cli.run_command(main)
