"""Names what is on images: python training/predict.py --run DIR IMAGE_OR_FOLDER...

With --arch and --weights (a tag, "imagenet" for the best, or a file) a network of the zoo does it.
Prints the five most probable classes of every image. With several --run the networks are an ensemble.
"""

import json
import sys
from pathlib import Path

from training import door

EXAMPLES = """examples:
  python training/predict.py --run runs/resnet50-photos-1 cat.jpg holiday/
  python training/predict.py --run runs/resnet20-digits-1 --json digit.png
  python training/predict.py --arch resnet50 --weights imagenet photo.jpg
"""
BATCH = 64


def parser() -> door.Parser:
    """The options of this door."""
    p = door.Parser(prog="predict.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    p.add_argument("images", nargs="+", type=Path, metavar="IMAGE_OR_FOLDER", help="files, or folders of files")
    p.add_argument("--run", type=Path, action="append", default=[], metavar="DIR", help="run folder; repeatable")
    p.add_argument("--arch", metavar="NAME", help="a network of the zoo, with --weights")
    p.add_argument("--weights", metavar="TAG_OR_PATH", help="known weights, or a file")
    p.add_argument("--top", type=door.positive, default=5, metavar="N", help="classes to print; default 5")
    p.add_argument("--json", action="store_true", help="print one JSON object a line")
    return p


def main() -> None:
    args = parser().parse_args()
    with door.arguments():
        paths = list(_files(args.images))
    door.quiet()
    door.narrate()
    with door.arguments():
        import numpy as np

        from training.engine import loading, scoring

        networks = loading.choose(args.run, args.arch, args.weights)
    runs = [scoring.forward(n.model) for n in networks]
    good = 0
    for start in range(0, len(paths), BATCH):
        images = [(path, image) for path in paths[start : start + BATCH] if (image := _read(path)) is not None]
        if not images:
            continue
        good += len(images)
        each = [
            _probabilities(n, run, [image for _, image in images]) for n, run in zip(networks, runs, strict=True)
        ]
        for (path, _), row in zip(images, np.mean(each, axis=0), strict=True):
            _show(path, row, networks[0].classes, args)
    if not good:
        raise door.Refusal(f"none of {len(paths)} files is a readable image")
    if good < len(paths):
        print(f"{len(paths) - good} of {len(paths)} files could not be read", file=sys.stderr)


def _files(given: list[Path]):
    """Files as given, and those with an image's suffix below folders, sorted."""
    from training.data.folder import SUFFIXES

    for path in given:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not found:
                raise ValueError(f"no images ({', '.join(sorted(SUFFIXES))}) in {str(path)!r}")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise ValueError(f"no file or folder {str(path)!r}")


def _read(path: Path):
    """The image as uint8 (h, w, 3), or None with a line on stderr."""
    from training.data.folder import examine
    from training.engine.backends import HERE

    _, reason = examine(str(path), HERE.opened)  # its header first: what claims to be huge is never unpacked
    if reason:
        print(f"left out: {path}: {reason}", file=sys.stderr)
        return None
    return HERE.opened(str(path))


def _probabilities(network, run, images):
    """(n, classes) of images of any size."""
    import numpy as np

    from training.engine.backends import HERE

    size, pixels = network.size, HERE.pixels
    fitted = np.concatenate([pixels.fit(image[None], size, network.crop) for image in images])
    return np.asarray(run(network.preprocessing(np.asarray(pixels.with_channels(fitted, network.channels)))))


def _show(path: Path, row, classes, args) -> None:
    order = row.argsort()[::-1][: args.top]
    best = [(classes[i], float(row[i])) for i in order]
    if args.json:
        print(json.dumps({"image": str(path), "top": [{"label": c, "probability": p} for c, p in best]}))
    else:
        print(f"{path}: " + ", ".join(f"{label} {p:.1%}" for label, p in best))


if __name__ == "__main__":
    door.enter(main)
