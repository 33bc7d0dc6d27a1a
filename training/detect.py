"""Detects objects: python training/detect.py fit|evaluate|predict|export [--data WHAT] [--run DIR] ...

Without options `fit` trains a small Faster R-CNN on scenes of digits, which it makes itself. The same command with
the same --run continues an interrupted run.
"""

import json
import os
import sys
from pathlib import Path

from training import cli, errors

EXAMPLES = """examples:
  python training/detect.py fit
  python training/detect.py fit --data voc/2007 --backbone resnet101 --weights imagenet
  python training/detect.py fit --data photos/annotations.json --images photos/ --backbone resnet18
  python training/detect.py evaluate --run runs/faster_rcnn_small_resnet-digit_scenes-1
  python training/detect.py predict --run runs/faster_rcnn_small_resnet-digit_scenes-1 --draw found/ photos/
  python training/detect.py export --run runs/faster_rcnn_small_resnet-digit_scenes-1 --to saved_model,tflite
"""
DATA = "digit_scenes, a COCO JSON file, a folder in VOC's or COCO's format, or TFDS names: voc/2007+voc/2012"


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.Parser(prog="detect.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    tasks = p.add_subparsers(dest="task", required=True, metavar="fit|evaluate|predict|export")
    for add, run, what in (
        (_add_fit, fit, "trains"),
        (_add_evaluate, evaluate, "measures on the test split"),
        (_add_predict, predict, "finds objects on images"),
        (_add_export, export, "makes files that other programs run"),
    ):
        task = tasks.add_parser(run.__name__, help=what, prog=f"detect.py {run.__name__}")
        task.set_defaults(run_task=run)
        if run is not fit:
            task.add_argument("--run", type=Path, required=True, metavar="DIR", help="run folder")
        add(task)
    return p


def _add_fit(p) -> None:
    p.add_argument("--data", default="digit_scenes", metavar="WHAT", help=DATA)
    p.add_argument("--images", type=Path, metavar="DIR", help="images of a JSON file; default: where it lies")
    p.add_argument(
        "--backbone", default="small_resnet", metavar="NAME", help="small_resnet, small_vgg, or of the zoo"
    )
    p.add_argument(
        "--weights", metavar="TAG_OR_PATH", help="of the backbone (imagenet), or a whole detector's file"
    )
    p.add_argument("--recipe", metavar="NAME", help="voc, coco or quick; default: that of the data, else quick")
    cli.add_training_options(p, p, "any field of the recipe, or of the detector as detector.FIELD; repeatable")


def _add_evaluate(p) -> None:
    p.add_argument("--data", metavar="WHAT", help="as in fit; default: the run's own")
    p.add_argument("--images", type=Path, metavar="DIR", help="images of a JSON file")
    p.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    p.add_argument("--answers", type=cli.new_file, metavar="FILE", help="also write all detections, COCO's format")
    p.add_argument("--json", action="store_true", help="print JSON")


def _add_predict(p) -> None:
    p.add_argument("paths", nargs="+", type=Path, metavar="IMAGE_OR_FOLDER", help="files, or folders of files")
    p.add_argument(
        "--score", type=cli.number_in(0, 1), default=0.5, metavar="F", help="lowest score to show; default 0.5"
    )
    p.add_argument("--draw", type=Path, metavar="DIR", help="also draw the images with their boxes")
    p.add_argument("--json", type=cli.new_file, metavar="FILE", help="also write COCO's format")


def _add_export(p) -> None:
    p.add_argument("--to", default="saved_model,tflite", metavar="FORMAT,...", help="saved_model, tflite, keras")
    p.add_argument("--out", type=Path, metavar="DIR", help="default: saved_models/ and the run's name")


def main() -> None:
    args = parser().parse_args()
    cli.import_keras_quietly()
    cli.log_to_stderr()
    args.run_task(args)


def fit(args) -> None:
    """Trains."""
    with errors.usage_errors():
        from training.detection.setup import prepare
        from training.trainer.run import fit_command

        spec = prepare(args)
    fit_command(args, spec, cli.resume_command)


def evaluate(args) -> None:
    """Measures."""
    with errors.usage_errors():
        from training.detection import coco, metrics, sources, trained

        detector = trained.from_run(args.run)
        config, name = detector.config, args.data or detector.config.data
        data = sources.load(name, args.images or (None if args.data else config.images))
        split = detector.in_order(data.classes, getattr(data, args.split))
    found = trained.detect_split(trained.forward(detector.model), split, config)
    figures = metrics.measure(found, split, len(config.classes))
    if args.answers:
        known = coco.category_ids(config.classes, config.categories)
        known |= coco.category_ids(data.classes, data.categories)
        pairs = zip(found, split.ids, strict=True)
        rows = [r for f, key in pairs for r in coco.result_rows(f, key, config.classes, known)]
        args.answers.write_text(json.dumps(rows), encoding="utf-8")
    if args.json:
        print(json.dumps({"data": name, "split": args.split, "run": str(args.run), **figures}))
        return
    print(detector.name)
    for kind, ap in zip(config.classes, figures["of_class"], strict=True):
        print(f"  {kind}: AP50 {'-' if ap is None else f'{ap:.4f}'}")
    print(f"{name}, {args.split} split: {metrics.describe(figures)}")


def predict(args) -> None:
    """Finds objects on images."""
    with errors.usage_errors():
        from training.data.folder import decoded, read
        from training.detection import coco, plots, trained
        from training.report import canvas

        paths = list(cli.image_files(args.paths))
        detector = trained.from_run(args.run)
        if args.draw:
            args.draw.mkdir(parents=True, exist_ok=True)
    run, rows, good = trained.forward(detector.model), [], 0
    known = coco.category_ids(detector.classes, detector.config.categories)
    for path in paths:
        image, reason, _ = read(str(path), decoded)
        if reason:
            print(f"left out: {path}: {reason}", file=sys.stderr)
            continue
        found, good = detector.find(run, image).above(args.score), good + 1
        mine = coco.result_rows(found, str(path), detector.classes, known)
        rows += mine
        objects = (f"{r['category']} {r['score']:.2f} at {', '.join(f'{v:.0f}' for v in r['bbox'])}" for r in mine)
        print(f"{path}: {'; '.join(objects) or 'nothing'}", flush=True)
        if args.draw:
            figure = plots.alone(image, found, detector.classes)
            canvas.save(figure, args.draw / f"{good:04d}_{path.stem}.png")
    if not good:
        raise errors.UsageError(f"none of {len(paths)} files is a readable image")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def export(args) -> None:
    """Makes files that other programs run."""
    with errors.usage_errors():
        from training.detection import exporting
        from training.exporting import exporter, formats, output_folder

        chosen = formats.choose(args.to, known=exporting.FORMATS)
        out = args.out or Path("saved_models") / args.run.resolve().name
        output_folder.check(out)
        model = exporting.from_run(args.run)
        files = exporter.export(model, chosen, out, os.cpu_count())
    print(f"done: {out}: {', '.join(files)}")


if __name__ == "__main__":
    cli.run_command(main)
