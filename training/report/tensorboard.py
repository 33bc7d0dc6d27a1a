"""What TensorBoard shows of a run: curves, pictures, texts, hyperparameters.

Events go through TensorBoard's own queue and thread rather than through `tf.summary`: a point costs the training
loop no file access and no TensorFlow operation, and only this way a resumed run can take back the points that the
killed one wrote after its last checkpoint.
"""

import math
import struct
import time
import warnings
from pathlib import Path

from training.report.canvas import png_bytes

PARTS = ("train", "val")
FLUSH = 10  # seconds until a point reaches the disk
MAX_TEXT = 100  # characters of a hyperparameter


class Board:
    """Writes `folder/train`, `folder/val` (so that their curves overlay) and, for all else, `folder` itself.

    Steps are the caller's: optimizer iterations, so that a resumed run continues its curves.

    Args:
        purge_step: the step a run resumes from; points of larger steps, written before the crash, disappear.
        warn: takes one line when writing fails (disk full, folder gone). The first failure is said, training goes
            on, the later ones are silent.

    Example:
        board = Board(run / "tensorboard", warn=log)
        board.scalars(98, {"loss": 0.31, "top1": 0.91, "rate": 0.05, "images_per_second": 412}, "train")
        board.picture("confusion", pictures.confusion_matrix(matrix, classes, "digits, validation"), 98)
        board.close()
    """

    def __init__(self, folder, purge_step: int | None = None, warn=warnings.warn):
        self.folder = Path(folder)
        self.warn = warn
        self.warned = False
        self.start = 0 if purge_step is None else purge_step + 1
        self.writers = {}

    def scalars(self, step: int, values: dict, part: str):
        """One point a curve: name -> number; None is left out.

        `rate` and `images_per_second` are curves like others, of the part "train".
        """
        if part not in PARTS:
            raise ValueError(f"a curve belongs to {' or '.join(PARTS)}; {part!r} came")
        self._try(self._scalars, step, values, part)

    def picture(self, tag: str, figure, step: int):
        """A matplotlib Figure on the Images page. It is drawn here, in the calling thread."""
        self._try(self._picture, tag, figure, step)

    def text(self, tag: str, markdown: str, step: int):
        """Markdown on the Text page."""
        self._try(self._text, tag, markdown, step)

    def hparams(self, config: dict, metrics: dict | None = None, step: int = 0):
        """The run's line on the HParams page: its settings (nested is fine) and its final figures (`test/top1`).

        Call it at the start without metrics, or at the end with them, or both.
        """
        self._try(self._hparams, config, metrics or {}, step)

    def flush(self):
        """Wait until everything is on disk."""
        for writer in self.writers.values():
            self._try(writer.flush)

    def close(self):
        """Write what is left. Writing again later opens new files."""
        for writer in self.writers.values():
            self._try(writer.close)
        self.writers = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _try(self, write, *arguments):
        """A picture must not end a training of days: any failure becomes one line."""
        try:
            write(*arguments)
        except Exception as error:
            if not self.warned:
                self.warned = True
                self.warn(f"TensorBoard: {error or type(error).__name__}; the training goes on")

    def _scalars(self, step, values, part):
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        for name, value in values.items():
            if value is not None:
                self._write(part, step, scalar_pb(name, float(value)))

    def _picture(self, tag, figure, step):
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.image.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        png = png_bytes(figure)
        width, height = struct.unpack(">II", png[16:24])  # of the PNG header
        summary = Summary()
        summary.value.add(
            tag=tag,
            metadata=create_summary_metadata(None, None),
            tensor=make_tensor_proto([str(width).encode(), str(height).encode(), png]),
        )
        self._write("", step, summary)

    def _text(self, tag, markdown, step):
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._write("", step, text_pb(tag, markdown))

    def _hparams(self, config, metrics, step):
        from tensorboard.plugins.hparams import api
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        run = self.folder.absolute().parent
        # One line a run on the page: equal settings would otherwise be merged.
        self._write("", 0, api.hparams_pb(flatten(config), trial_id=f"{run.name} in {run.parent.name}"))
        for name, value in flatten(metrics).items():
            if isinstance(value, int | float):
                self._write("", step, scalar_pb(name.replace(".", "/"), float(value)))

    def _write(self, part, step, summary):
        from tensorboard.compat.proto.event_pb2 import Event

        if part not in self.writers:
            self.writers[part] = self._open(part)
        self.writers[part].add_event(Event(wall_time=time.time(), step=int(step), summary=summary))

    def _open(self, part):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer = EventFileWriter(str(self.folder / part), flush_secs=FLUSH)
        # TensorBoard drops the points from this step on that earlier files hold.
        start = SessionLog(status=SessionLog.START)
        writer.add_event(Event(wall_time=time.time(), step=self.start, session_log=start))
        return writer


def flatten(config: dict) -> dict:
    """Nested settings as one level of numbers, texts and booleans, which is what HParams takes.

    >>> flatten({"optimizer": {"type": "SGD", "rate": 0.1}, "steps": [60, 120], "clip": None})
    {'optimizer': 'SGD', 'optimizer.rate': 0.1, 'steps': '60, 120', 'clip': 'none'}
    """
    flat = {}
    for name, value in config.items():
        if isinstance(value, dict):
            for inner, v in flatten(value).items():
                # An encoded value's type or function stands for the whole.
                flat[str(name) if inner in ("type", "function") else f"{name}.{inner}"] = v
        else:
            flat[str(name)] = _simple(value)
    return flat


def _simple(value):
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    text = _words(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def _words(value) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "none"
    if isinstance(value, dict):
        flat = flatten(value)
        head = str(flat.pop("type", flat.pop("function", "")))
        inner = ", ".join(f"{k}={v}" for k, v in flat.items())
        return f"{head}({inner})" if inner else head
    return str(value)
