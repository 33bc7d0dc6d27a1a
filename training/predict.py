"""Classifies images: python training/predict.py --run DIR IMAGE_OR_FOLDER...

With --arch and --weights (a tag, "imagenet" for the best, or a file) it uses a network of the zoo.
It prints the five most probable classes of every image. Several --run make an ensemble.
"""

import csv
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from training import cli, errors

EXAMPLES = """examples:
  python training/predict.py --run runs/resnet50-photos-1 cat.jpg holiday/
  python training/predict.py --run runs/resnet20-digits-1 --json digit.png
  python training/predict.py --arch resnet50 --weights imagenet --csv names.csv --sheet names.png holiday/
"""
BATCH = 16  # camera photographs in memory at once


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.Parser(prog="predict.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    p.add_argument("images", nargs="+", type=Path, metavar="IMAGE_OR_FOLDER", help="files, or folders of files")
    cli.add_network_options(p)
    p.add_argument("--top", type=cli.positive_int, default=5, metavar="N", help="classes to print; default 5")
    p.add_argument("--json", action="store_true", help="print one JSON object a line")
    p.add_argument("--csv", type=cli.new_file, metavar="FILE", help="also write a table, one image a row")
    p.add_argument("--sheet", type=cli.new_png, metavar="FILE.png", help="also draw images with bars (up to 32)")
    return p


def main() -> None:
    args = parser().parse_args()
    with errors.usage_errors():
        paths = list(cli.image_files(args.images))
    cli.import_keras_quietly()
    cli.log_to_stderr()
    with errors.usage_errors():
        from training.classification import trained
        from training.engine.backends import backend
        from training.report import canvas
        from training.report.progress import ImageBar
        from training.visualize.contact_sheet import Sheet

        networks = trained.load_networks(args.run, args.arch, args.weights)
    pairs = [(n, backend.forward(n.model)) for n in networks]
    sheet, readable = Sheet() if args.sheet else None, 0
    with ImageBar(len(paths)) as bar, _table(args.csv, args.top) as table:
        for start in range(0, len(paths), BATCH):
            images = [(p, x) for p in paths[start : start + BATCH] if (x := _read(p, bar)) is not None]
            predictions = _predict(pairs, [x for _, x in images], args.top) if images else []
            for (path, image), best in zip(images, predictions, strict=True):
                bar.write(_line(path, best, args.json))
                table.writerow([path, *(cell for pair in best for cell in pair)])
                if sheet is not None:
                    sheet.add(image, str(path), best)
            sys.stdout.flush()  # if the reader has closed the pipe, the command ends after this batch
            readable += len(images)
            bar.update(min(BATCH, len(paths) - start))
    if not readable:
        raise errors.UsageError(f"none of {len(paths)} files is a readable image")
    if sheet is not None:
        canvas.save(sheet.figure(" and ".join(n.name for n in networks)), args.sheet)
    if readable < len(paths):
        print(f"{len(paths) - readable} of {len(paths)} files could not be read", file=sys.stderr)


@contextmanager
def _table(path: Path | None, top: int):
    """A CSV writer with the header written; without a path it writes nothing."""
    with open(path or os.devnull, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *(f"{what}{i}" for i in range(1, top + 1) for what in ("label", "probability"))])
        yield writer


def _read(path: Path, bar):
    """The image as uint8 (h, w, 3), upright, or None with a line on stderr."""
    from training.data.folder import read
    from training.engine.backends import backend

    image, reason, _ = read(str(path), backend.read_image)
    if reason:
        bar.write(f"left out: {path}: {reason}", file=sys.stderr)
    return image


def _predict(pairs, images, top: int) -> list[list[tuple[str, float]]]:
    """The `top` most probable classes of every image, by the mean probability of all networks."""
    import numpy as np

    classes = pairs[0][0].classes
    scores = np.mean([_probabilities(network, run, images) for network, run in pairs], axis=0)
    return [[(classes[i], float(row[i])) for i in row.argsort()[::-1][:top]] for row in scores]


def _probabilities(network, run, images):
    """(n, classes) of images of any size."""
    import numpy as np

    from training.engine.backends import backend

    size, pixels = network.size, backend.array_reader
    fitted = np.concatenate([pixels.resize_and_crop(image[None], size, network.crop) for image in images])
    return np.asarray(run(network.preprocessing(np.asarray(pixels.with_channels(fitted, network.channels)))))


def _line(path: Path, best, as_json: bool) -> str:
    if as_json:
        return json.dumps({"image": str(path), "top": [{"label": c, "probability": p} for c, p in best]})
    return f"{path}: " + ", ".join(f"{label} {p:.1%}" for label, p in best)


if __name__ == "__main__":
    cli.run_command(main)
