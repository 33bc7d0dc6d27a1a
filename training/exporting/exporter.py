"""An export from beginning to end: written, proved, recorded, published."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from keras_cnns import __version__
from keras_cnns.deep import deep_recursion
from training.classification.trained import Trained
from training.data.dataset import DataSet
from training.errors import RunError
from training.exporting import card as cards
from training.exporting import export_model, output_folder, qat, quantization_report
from training.exporting.formats import QUANTIZE, Format
from training.exporting.provenance import Provenance
from training.exporting.verification import ENOUGH, Verification, Verifier
from training.report.environment import machine
from training.report.folder import write_json, write_text
from training.run_folder.checkpoints import weights_sha256

CALIBRATION = 500  # training images; ranges of activations hardly move after 300


@dataclass(frozen=True)
class ExportSpec:
    """What is to be made.

    Attributes:
        formats: of the files.
        out: folder.
        max_drop: of top-1, as a fraction, that a file may have and still be published.
        images: of the validation split to measure on, at most.
        threads: of the latency.
        fine_tune: epochs of quantisation-aware fine-tuning before int8.
    """

    formats: tuple[Format, ...]
    out: Path
    max_drop: float
    images: int
    threads: int
    fine_tune: int = 0


def export(
    order: ExportSpec, network: Trained, origin: Provenance, data: DataSet | None, say: Callable[[str], None]
) -> list[str]:
    """Makes an export; returns the files' names.

    Raises:
        ValueError: the folder cannot be written or is another's; a format cannot hold this network.
        Failure: a file does not do what the network does. Those that do are published.
    """
    output_folder.check(order.out)
    one, weights = export_model.of(network), weights_sha256(network.model)
    refused, files = [], {}
    with output_folder.staging_folder(order.out) as folder, tempfile.TemporaryDirectory() as aside:
        reference = Path(aside) / "reference.keras"
        with deep_recursion():
            network.model.save(reference)
        split = data and data.val
        measured = export_model.spread(len(split), order.images) if split else None
        calibration = data and one.shown(data.train, export_model.spread(len(data.train), CALIBRATION))
        kept = output_folder.earlier(order.out, weights)
        with Verifier(one, reference, split, measured, order.threads) as judge:
            for form in order.formats:
                say(f"{form.file}: writing")
                kept.pop(form.file, None)
                path = folder / form.file
                shipped = one
                if order.fine_tune and form is QUANTIZE["int8"]:
                    shipped = qat.tuned(one, data.train, calibration, order.fine_tune, say)
                form.write(shipped, path, calibration)
                try:
                    proof = judge.prove(form, path)
                    say(f"{form.file}: {proof.line()}")
                    _check_drop(form, proof, order, one, calibration)
                except RunError as fault:
                    output_folder.remove(path)
                    refused.append(str(fault))
                    continue
                size, hashes = output_folder.sizes_and_hashes(path)
                files[form.file] = {"bytes": size, **proof.to_json(), "sha256": hashes}
        if not files:
            raise RunError(" | ".join(refused))
        for name in kept:
            output_folder.keep(order.out, folder, name)
        facts = {"weights_sha256": weights, "calibration_images": 0 if calibration is None else len(calibration)}
        record = {**_facts(order, one, origin, data), **facts, "files": {**kept, **files}}
        write_text(folder / output_folder.LABELS, "\n".join(network.classes) + "\n")
        write_json(folder / output_folder.RECORD, record)
        write_text(folder / output_folder.CARD, cards.card(order.out.name, one, origin, record, refused))
    if refused:
        raise RunError(" | ".join([*refused, f"published without it: {order.out}"]))
    return list(files)


def _facts(order: ExportSpec, one: export_model.ExportModel, origin: Provenance, data: DataSet | None) -> dict:
    """What `export.json` holds besides measurements."""
    network = one.network
    return {
        "name": order.out.name,
        "arch": origin.arch,
        "trained": origin.training,
        "accuracy": origin.measured,
        "licence": origin.licence,
        "data": data and data.name,
        "split": data and "val",
        "max_drop": order.max_drop,
        "fine_tune": order.fine_tune,
        "input": {
            "size": network.size,
            "channels": network.channels,
            "range": [0, 255],
            "shorter_side": one.shorter_side,
        },
        "preprocessing": asdict(network.preprocessing),
        "keras_cnns": __version__,
        "machine": machine(),
    }


def _check_drop(
    form: Format, proof: Verification, order: ExportSpec, one: export_model.ExportModel, calibration
) -> None:
    """Raises Failure for a file that loses too much, with the layers to blame and what to try next."""
    if proof.drop is None or proof.drop <= order.max_drop:
        return
    few = f" ± {proof.drop_standard_error:.4f} on only {proof.n} images"
    about = few if proof.n < ENOUGH else f" (n={proof.n})"
    raise RunError(
        f"{form.file} is not published: it loses {proof.drop:.4f} of top-1{about}, --max-drop allows "
        f"{order.max_drop:g}; {quantization_report.advice(one, calibration, form.file, order.fine_tune)}"
    )
