"""Progress: lines redrawn at the bottom of a terminal (by rich), and in a pipe one line for what is finished."""

import math
import sys
import time
from contextlib import AbstractContextManager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from training.report.stream import write

PAUSE = 0.2  # seconds between two redraws


def duration(seconds: float) -> str:
    """Seconds for people: "0:07", "3:12", "1:02:09"; "?" where unknown."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(round(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Display:
    """Lines at the bottom of a terminal. Where the stream is no terminal, nothing is drawn.

    Args:
        size: (columns, lines) of the terminal, for tests.
    """

    def __init__(self, stream, size: tuple[int, int] | None = None):
        self.stream, self.encoding = stream, getattr(stream, "encoding", None)
        width, height = size or (None, None)
        try:
            terminal = stream.isatty()
        except (AttributeError, ValueError):  # no stream, or a closed one
            terminal = False
        console = Console(file=self, force_terminal=terminal, color_system=None, width=width, height=height)
        self.terminal = console.is_terminal and not console.is_dumb_terminal
        options = {"auto_refresh": False, "redirect_stdout": False, "redirect_stderr": False}
        self.live = Live(console=console, transient=True, **options)

    def show(self, text: str, done: float | None = None) -> None:
        """Draws lines in place of those before, cut at the right edge; `done`, a fraction, adds a bar."""
        if not self.terminal:
            return
        if not self.live.is_started:
            self.live.start()
            self.live.console.show_cursor()  # rich hides it, and a process that is killed cannot show it again
        lines = Text(text, no_wrap=True, overflow="crop")
        if done is not None:
            grid = Table.grid(Column(no_wrap=True), Column(ratio=1), padding=(0, 1), expand=True)
            grid.add_row(lines, ProgressBar(1.0, done))
            lines = grid
        self.live.update(lines, refresh=True)

    def clear(self) -> None:
        """Removes the lines, before something else is printed."""
        self.live.stop()

    def write(self, text: str) -> None:
        """Of a file: what rich draws, to a stream that may be closed at any time."""
        self.terminal = write(self.stream, text) and self.terminal

    def flush(self) -> None:
        """Of a file; `write` flushes."""


class Bar:
    """Progress of a training run: a bar on a terminal, and a line for each epoch.

    Args:
        epochs: the last epoch's number; steps: optimizer steps of one epoch.
        stream: where the bar is drawn, if it is a terminal.
        say: takes the line of each finished epoch, `Log` for example; by default it goes to the stream.
        clock, size: seconds, and (columns, lines) of the terminal, for tests.

    Example:
        bar.start(1)
        bar.update(41, loss=0.312, top1=0.912, rate=0.05, images_per_second=412)
        bar.end(loss=0.3, top1=0.92, val_loss=0.4, val_top1=0.9, rate=0.05, images_per_second=410)
    """

    def __init__(self, epochs, steps, stream=None, say=None, clock=time.monotonic, size=None):
        self.epochs, self.steps, self.clock = epochs, steps, clock
        self.display = Display(sys.stdout if stream is None else stream, size)
        self.say = say or (lambda line: write(self.display.stream, line + "\n"))
        self.took = []  # seconds of the epochs that this process has trained
        self.start(1)

    def start(self, epoch: int):
        """Begins an epoch, counted from 1."""
        self.epoch = epoch
        self.began = self.clock()
        self.first = self.redrawn = None

    def update(self, step: int, rate=None, images_per_second=None, **measures):
        """After step 1 ... steps of the epoch. Draws at most five times a second, and the last step always."""
        now = self.clock()
        self.first = self.first or (step, now)
        if step < self.steps and self.redrawn is not None and now - self.redrawn < PAUSE:
            return
        self.redrawn = now
        fields = [self._title(), f"{step:{len(str(self.steps))}}/{self.steps}"]
        fields += _fields(**measures, rate=rate, images_per_second=images_per_second)
        first, since = self.first  # the time left is counted from the first update, since the first step compiles
        if step > first:
            fields.append(f"{duration((self.steps - step) * (now - since) / (step - first))} left")
        self.display.show("  ".join(fields), step / self.steps)

    def end(self, rate, images_per_second, seconds=None, **measures):
        """Prints the finished epoch in one line, with the expected time of the rest of the run.

        `measures` stand there by name, in their order, without those that are None. `seconds` is the epoch's time,
        validation included; by default since `start`.
        """
        seconds = self.clock() - self.began if seconds is None else seconds
        self.took.append(seconds)
        fields = [*_fields(**measures, rate=rate, images_per_second=images_per_second), duration(seconds)]
        if self.epoch < self.epochs:
            usual = self.took[1:] or self.took  # the first epoch traces and compiles
            fields.append(f"{duration((self.epochs - self.epoch) * sum(usual) / len(usual))} to go")
        self.display.clear()
        self.say("  ".join([self._title(), *fields]))

    def _title(self) -> str:
        return f"epoch {self.epoch:{len(str(self.epochs))}}/{self.epochs}"


class ImageBar(AbstractContextManager):
    """Progress over images, on stderr; lines are printed above it."""

    def __init__(self, total: int):
        self.total, self.done, self.display = total, 0, Display(sys.stderr)

    def write(self, line: str, file=None) -> None:
        """Prints a line, by default to stdout."""
        self.display.clear()
        print(line, file=file)

    def update(self, images: int) -> None:
        """Adds images to those that are done."""
        self.done += images
        self.display.show(f"{self.done}/{self.total} images", self.done / self.total)

    def __exit__(self, *error):
        self.display.clear()


def _fields(images_per_second=None, **numbers) -> list[str]:
    """`loss 0.312` and so on; what is None is left out."""
    fields = [f"{k} {v:.3g}" if k == "rate" else f"{k} {v:.3f}" for k, v in numbers.items() if v is not None]
    if images_per_second is not None:
        fields.append(f"{images_per_second:.{0 if images_per_second >= 10 else 1}f} img/s")
    return fields
