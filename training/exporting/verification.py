"""What an exported file is worth: its answers and its speed beside those of the network it was made of."""

import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.data.dataset import Split
from training.errors import RunError
from training.exporting.export_model import ExportModel
from training.exporting.formats import Format
from training.exporting.runtime_client import Failed, Runtime

ROUNDS, TIMES = 5, 10
SAMPLE = 16  # images that also go through the signatures that take them raw
ENOUGH = 1000  # images from which on a difference of accuracies speaks for itself


@dataclass(frozen=True)
class Verification:
    """One file's figures; accuracies as fractions, None without labelled images.

    Attributes:
        n: images.
        top1, keras_top1: of the file, and of the Keras network on the same images.
        drop: keras_top1 - top1, and its standard error, from image to image.
        agreement: share of images on which both name the same class.
        largest_difference: of a probability.
        latency_ms, keras_latency_ms: for one image, the median of several rounds in turn.
        speed: how many times faster the file is, the median of the rounds' own ratios.
        threads: that both had, on the CPU.
    """

    n: int
    top1: float | None
    keras_top1: float | None
    drop: float | None
    drop_standard_error: float | None
    agreement: float
    largest_difference: float
    latency_ms: float
    keras_latency_ms: float
    speed: float
    threads: int

    def line(self) -> str:
        """For people."""
        found = f"agreement {self.agreement:.4f}, largest difference {self.largest_difference:.2g} (n={self.n})"
        if self.top1 is not None:
            about = f" ± {self.drop_standard_error:.4f}" if self.n < ENOUGH else ""
            found = f"top-1 {self.top1:.4f}, drop {self.drop:+.4f}{about}, {found}"
        return f"{found}, {self.latency_ms:.2f} ms, {self.speed:.2f} times Keras"

    def to_json(self) -> dict:
        """For `export.json`."""
        return asdict(self)


class Verifier:
    """The Keras network's answers to some images, and its process, to compare files with. For a `with`.

    Args:
        subject: what was exported.
        reference: a `.keras` file of the network as it was trained.
        split, indices: labelled images to measure on; without, random images are compared, and nothing is said of
            accuracy.
    """

    def __init__(self, subject: ExportModel, reference: Path, split: Split | None, indices, threads: int):
        self.subject, self.split, self.indices, self.threads = subject, split, indices, threads
        side, channels = subject.network.size, subject.network.channels
        if split is None:
            self.images = np.random.default_rng(0).integers(0, 256, (SAMPLE, side, side, channels), np.uint8)
        else:
            self.images = subject.shown(split, indices)
        self.labels = None if split is None else split.labels[indices]
        try:
            self.reference = Runtime("reference", reference, threads)
        except Failed as error:
            raise RunError(f"the network itself does not run: {error}") from error
        try:
            self.answers = self.reference.all("", self.images, subject.network.preprocessing)
        except BaseException:
            self.reference.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.reference.close()

    def prove(self, form: Format, path: Path) -> Verification:
        """The figures of a file.

        Raises:
            Failure: it cannot be run, or differs by more than its format may.
        """
        try:
            with Runtime(form.runtime, path, self.threads) as runtime:
                if form.runtime == "saved_model":
                    self._raw(form, runtime)
                    answers = runtime.all("tensor", self.images, self.subject.network.preprocessing)
                else:
                    answers = runtime.all("", self.images)
                found = self._figures(answers, *self._race(runtime))
        except Failed as error:
            raise RunError(f"{form.file} does not run in its runtime: {error}") from error
        _close(form, "the network", found.largest_difference)
        return found

    def _figures(self, answers: np.ndarray, latency: float, keras_latency: float, speed: float) -> Verification:
        if not np.isfinite(answers).all():
            raise Failed("its answers are not finite")
        mine, theirs = answers.argmax(axis=1), self.answers.argmax(axis=1)
        top1 = keras_top1 = drop = error = None
        if self.labels is not None:
            right, known = mine == self.labels, theirs == self.labels
            top1, keras_top1 = float(right.mean()), float(known.mean())
            lost = known.astype(float) - right
            drop, error = float(lost.mean()), float(lost.std() / np.sqrt(len(lost)))
        return Verification(
            n=len(self.images),
            top1=top1,
            keras_top1=keras_top1,
            drop=drop,
            drop_standard_error=error,
            agreement=float((mine == theirs).mean()),
            largest_difference=float(np.abs(answers - self.answers).max()),
            latency_ms=1000 * latency,
            keras_latency_ms=1000 * keras_latency,
            speed=speed,
            threads=self.threads,
        )

    def _race(self, runtime: Runtime) -> tuple[float, float, float]:
        """(seconds of the file, of Keras, ratio) for one image; in turn, so that a slow moment hits both."""
        rounds = []
        for one in (runtime, self.reference):
            one.seconds(2)  # warm up
        for _ in range(ROUNDS):
            rounds.append([statistics.median(one.seconds(TIMES)) for one in (runtime, self.reference)])
        mine, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
        return mine, theirs, statistics.median(b / a for a, b in rounds)

    def _raw(self, form: Format, runtime: Runtime) -> None:
        """Images as they come, and as JPEGs, through the signatures that prepare them."""
        import tensorflow as tf

        given = self.images if self.split is None else [self.split.images[int(i)] for i in self.indices[:SAMPLE]]
        raw = [np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image for image in given]
        seen = np.concatenate([np.asarray(self.subject.seen(image[None])) for image in raw])
        want = self.reference.all("", seen, self.subject.network.preprocessing)
        found = np.concatenate([runtime.call("images", image[None]) for image in raw])
        _close(form, "the network on raw images", float(np.abs(found - want).max()))
        jpegs = [tf.io.encode_jpeg(image, quality=95).numpy() for image in raw]
        decoded = [tf.io.decode_jpeg(data, 3).numpy() for data in jpegs]
        seen = np.concatenate([np.asarray(self.subject.seen(image[None])) for image in decoded])
        want = self.reference.all("", seen, self.subject.network.preprocessing)
        found = runtime.call("jpegs", *(np.frombuffer(data, np.uint8) for data in jpegs))
        _close(form, "the network on JPEGs", float(np.abs(found - want).max()))


def _close(form: Format, what: str, difference: float) -> None:
    if form.largest is not None and not difference <= form.largest:
        raise RunError(
            f"{form.file} is not published: a probability differs from that of {what} by {difference:.2g}; "
            f"{form.largest:g} would be rounding"
        )
