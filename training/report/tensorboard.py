"""Writes a run's TensorBoard events: curves, pictures, hyperparameters.

Events go through TensorBoard's own queue and thread and not through `tf.summary`: a point costs the training loop
no file access and no TensorFlow operation, and a resumed run can remove the points that the killed one wrote after
its last checkpoint.
"""

import struct
import time
import warnings
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from training.report.canvas import png_bytes

FLUSH = 10  # seconds until a point is on the disk


class Board(AbstractContextManager):
    """Writes `folder/train`, `folder/val` (so that their curves overlay) and, for all else, `folder` itself.

    Steps are optimizer iterations, so that a resumed run continues its curves.

    Args:
        purge_step: the step a run resumes from; points of larger steps, written before the crash, disappear.
        warn: takes one line when writing first fails (disk full, folder gone); training continues without events.

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
        """One point of each curve, name -> number, of the part "train" or "val"; None is left out."""
        with self._go_on():
            from tensorboard.plugins.scalar.summary_v2 import scalar_pb

            for name, value in values.items():
                if value is not None:
                    self._write(part, step, scalar_pb(name, float(value)))

    def picture(self, tag: str, figure, step: int):
        """A matplotlib Figure on the Images page. It is drawn in the calling thread."""
        with self._go_on():
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

    def hparams(self, config: dict, metrics: dict, step: int):
        """The run's line on the HParams page: settings (numbers, texts, booleans) and figures (`test/top1`)."""
        with self._go_on():
            from tensorboard.plugins.hparams import api

            run = self.folder.absolute().parent
            # The name makes each run a line of the page; runs of equal settings would otherwise be merged.
            self._write("", 0, api.hparams_pb(config, trial_id=f"{run.name} in {run.parent.name}"))
            self.scalars(step, metrics, "")

    def close(self):
        """Writes what is left. Writing again later opens new files."""
        for writer in self.writers.values():
            with self._go_on():
                writer.close()
        self.writers = {}

    def __exit__(self, *error):
        self.close()

    @contextmanager
    def _go_on(self):
        """A failed picture must not end a training of days: any failure becomes one line."""
        try:
            yield
        except Exception as error:
            if not self.warned:
                self.warned = True
                self.warn(f"TensorBoard: {error or type(error).__name__}; training continues without it")

    def _write(self, part, step, summary):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if part not in self.writers:
            self.writers[part] = EventFileWriter(str(self.folder / part), flush_secs=FLUSH)
            # TensorBoard drops points of earlier files from this step upwards.
            start = SessionLog(status=SessionLog.START)
            self.writers[part].add_event(Event(wall_time=time.time(), step=self.start, session_log=start))
        self.writers[part].add_event(Event(wall_time=time.time(), step=int(step), summary=summary))
