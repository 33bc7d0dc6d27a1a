"""Makes an export: writes the files, verifies each, records the figures, publishes the folder."""

import shutil
import tempfile
from pathlib import Path

from keras_cnns import __version__
from keras_cnns.deep import deep_recursion
from training.errors import RunError
from training.exporting import card, output_folder
from training.exporting.formats import Exportable, Format
from training.exporting.verification import Verifier
from training.report.environment import machine
from training.report.folder import write_json, write_text
from training.run_folder.checkpoints import weights_sha256


def export(model: Exportable, formats: tuple[Format, ...], out: Path, threads: int) -> list[str]:
    """Exports a model to the folder `out` and prints its progress; returns the files' names.

    Args:
        threads: CPU threads of the runtimes.

    Raises:
        ValueError: the folder cannot be written or holds other files; a format cannot hold this network.
        RunError: a file was not published, because its outputs differ. The other files are published.
    """
    output_folder.check(out)
    weights, refused, files = weights_sha256(model.network.model), [], {}
    with output_folder.staging_folder(out) as folder, tempfile.TemporaryDirectory() as temporary:
        reference = Path(temporary) / "reference.keras"
        with deep_recursion():
            model.network.model.save(reference)
        kept = output_folder.earlier_files(out, weights)
        with Verifier(model, reference, threads) as verifier:
            for form in formats:
                print(f"{form.file}: writing", flush=True)
                kept.pop(form.file, None)
                path = folder / form.file
                form.write(model, path)
                try:
                    figures = verifier.verify(form, path)
                    cells = {**model.columns, **card.COLUMNS}.items()
                    told = ", ".join(f"{title} {text(figures)}" for title, text in cells)
                    print(f"{form.file}: {told}", flush=True)
                    model.check(form, figures)
                except RunError as error:
                    output_folder.remove(path)
                    refused.append(f"{form.file} is not published: {error}")
                    continue
                size, hashes = output_folder.sizes_and_hashes(path)
                files[form.file] = {"bytes": size, **figures, "sha256": hashes}
        if not files:
            raise RunError(" | ".join(refused))
        for name in kept:
            copy = shutil.copytree if (out / name).is_dir() else shutil.copy2
            copy(out / name, folder / name)
        origin = model.provenance
        record = {
            "name": out.name,
            "arch": origin.arch,
            "trained": origin.training,
            "accuracy": origin.accuracy,
            "licence": origin.licence,
            **model.record(),
            "keras_cnns": __version__,
            "machine": machine(),
            "weights_sha256": weights,
            "files": {**kept, **files},
        }
        write_text(folder / output_folder.LABELS, "\n".join(model.network.classes) + "\n")
        write_json(folder / output_folder.RECORD, record)
        write_text(folder / output_folder.CARD, card.render(model, record, refused))
    if refused:
        raise RunError(" | ".join([*refused, f"the other files are in {out}"]))
    return list(files)
