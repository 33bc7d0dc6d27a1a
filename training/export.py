"""Exports a trained network: python training/export.py --run DIR --to saved_model,tflite,keras

Every file is run by its own runtime, in a process without this package, and compared with the network before it is
published. A folder saved_models/NAME/ holds the files, labels.txt, card.md and export.json.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from training import cli, errors

EXAMPLES = """examples:
  python training/export.py --run runs/resnet20-digits-1
  python training/export.py --run runs/resnet20-digits-1 --to tflite --quantize none,float16,int8 --max-drop 0.01
  python training/export.py --run runs/repvgg_a0-fashion-1 --to tflite --quantize int8 --qat 1
  python training/export.py --arch resnet50 --weights imagenet --to saved_model,keras
"""


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.Parser(prog="export.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    cli.add_network_options(p, "run folder")
    p.add_argument(
        "--data", metavar="WHAT", help="to calibrate and measure on, as in fit.py; default: the run's own"
    )
    p.add_argument("--to", default="saved_model,tflite,keras", metavar="FORMAT,...", help="also onnx")
    p.add_argument("--quantize", metavar="KIND,...", help="of TFLite: none, float16, dynamic, int8, int16x8")
    p.add_argument(
        "--max-drop",
        type=cli.number_in(0, 1),
        default=0.05,
        metavar="F",
        help="loss of top-1 up to which a file is published; default 0.05 (five points)",
    )
    p.add_argument(
        "--qat",
        "--fine-tune",
        type=cli.positive_int,
        default=0,
        metavar="N",
        help="epochs of quantization-aware training before int8",
    )
    p.add_argument("--out", type=Path, metavar="DIR", help="default: saved_models/ and the run's name")
    p.add_argument(
        "--images", type=cli.positive_int, default=2000, metavar="N", help="to measure on; default 2000"
    )
    p.add_argument(
        "--threads", type=cli.positive_int, default=os.cpu_count(), metavar="N", help="default: all cores"
    )
    return p


def main() -> None:
    args = parser().parse_args()
    cli.import_keras_quietly()
    cli.log_to_stderr()
    with errors.usage_errors():
        from training.classification import trained
        from training.data import sources
        from training.exporting import export_model, exporter, formats, output_folder, provenance

        chosen = formats.choose(args.to, args.quantize)
        if len(args.run) > 1:
            raise ValueError(f"an export is of one network, got --run {len(args.run)} times")
        if args.qat and formats.QUANTIZE["int8"] not in chosen:
            raise ValueError("--qat is for int8: add --quantize int8")
        out = args.out or Path("saved_models") / (args.run[0].resolve().name if args.run else str(args.arch))
        output_folder.check(out)
        data = sources.load(args.data) if args.data else None
        (network,) = trained.load_networks(args.run, args.arch, args.weights, data and data.classes)
        source = args.data or network.data
        needy = [f.file for f in chosen if f.needs_images and source is None]
        if needy:
            raise ValueError(f"{needy[0]} needs --data: images to calibrate and to measure on")
        data = data or (sources.load(source) if source else None)
        if data:
            for name in ("train", "val"):
                network, split = trained.with_labels_of(network, data.classes, getattr(data, name))
                data = replace(data, **{name: split})
        origin = provenance.from_run(args.run[0]) if args.run else provenance.from_weights(args.arch, args.weights)
        model = export_model.build(
            network, provenance=origin, data=data, images=args.images, max_drop=args.max_drop, qat=args.qat
        )
        files = exporter.export(model, chosen, out, args.threads)
    print(f"done: {out}: {', '.join(files)}")
    if not data:
        print("the accuracy is not measured: it needs --data", file=sys.stderr)


if __name__ == "__main__":
    cli.run_command(main)
