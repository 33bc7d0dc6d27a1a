"""The progress bar: one rewritten line on a terminal, one line an epoch in a pipe. ASCII only."""

import math
import shutil
import sys
import time

from training.report.stream import put

PAUSE = 0.2  # seconds between two redraws
LONGEST_BAR, SHORTEST_BAR = 30, 5


def duration(seconds: float) -> str:
    """Seconds for people: "0:07", "3:12", "1:02:09"; "?" where unknown."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(round(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Bar:
    """Progress of a training run.

    Args:
        epochs: the last epoch's number; steps: optimizer steps of one epoch.
        stream: where the bar is drawn, if it is a terminal.
        say: takes the line of each finished epoch, `Log` for example; by default it goes to the stream.
        clock, size: seconds and (columns, lines) of the terminal, for tests.

    Example:
        bar.start(1)
        bar.update(41, loss=0.312, top1=0.912, rate=0.05, images_per_second=412)
        bar.end(loss=0.3, top1=0.92, val_loss=0.4, val_top1=0.9, rate=0.05, images_per_second=410)
    """

    def __init__(self, epochs, steps, stream=None, say=None, clock=time.monotonic, size=shutil.get_terminal_size):
        self.epochs, self.steps = epochs, steps
        self.stream = sys.stdout if stream is None else stream
        self.say = say or (lambda line: put(self.stream, line + "\n"))
        self.clock, self.size = clock, size
        self.terminal = _is_terminal(self.stream)
        self.took = []  # seconds of the epochs seen by this process
        self.drawn = 0  # characters of the line on the terminal
        self.start(1)

    def start(self, epoch: int):
        """Begin an epoch (from 1)."""
        self.epoch = epoch
        self.began = self.clock()
        self.first = self.redrawn = None

    def update(self, step: int, rate=None, images_per_second=None, **measures):
        """After step 1 ... steps of the epoch. Draws at most five times a second, and the last step always."""
        now = self.clock()
        self.first = self.first or (step, now)
        recent = self.redrawn is not None and now - self.redrawn < PAUSE
        if not self.terminal or (recent and step < self.steps):
            return
        self.redrawn = now
        fields = _fields(**measures, rate=rate, images_per_second=images_per_second)
        self._draw(self._line(step, fields + self._left(step, now)))

    def end(self, rate, images_per_second, seconds=None, **measures):
        """Say the finished epoch in one line, with the time to go for the whole run.

        `measures` are said by their names, in their order; what is None is left out. `seconds` is the epoch's
        time, validation included; by default since `start`.
        """
        seconds = self.clock() - self.began if seconds is None else seconds
        self.took.append(seconds)
        fields = [*_fields(**measures, rate=rate, images_per_second=images_per_second), duration(seconds)]
        if self.epoch < self.epochs:
            # The first epoch traces and compiles: once there are others, they tell more.
            usual = self.took[1:] or self.took
            fields.append(f"{duration((self.epochs - self.epoch) * sum(usual) / len(usual))} to go")
        self.clear()
        self.say("  ".join([self._title(), *fields]))

    def clear(self):
        """Wipe the bar off the terminal, before something else is printed."""
        if self.drawn:
            self._put("\r" + " " * self.drawn + "\r")
            self.drawn = 0

    def _title(self) -> str:
        return f"epoch {self.epoch:{len(str(self.epochs))}}/{self.epochs}"

    def _left(self, step: int, now: float) -> list[str]:
        """Time left in the epoch, counted from the first update, since the first step compiles."""
        first, since = self.first
        return [f"{duration((self.steps - step) * (now - since) / (step - first))} left"] if step > first else []

    def _line(self, step: int, fields: list[str]) -> str:
        # One column stays free: a full line makes some terminals wrap.
        columns = max(10, self.size()[0] - 1)
        head, count = self._title(), f"{step:{len(str(self.steps))}}/{self.steps}"
        fields = list(fields)
        while fields and len("  ".join([head, count, *fields])) > columns:
            fields.pop()
        room = columns - len("  ".join([head, count, *fields])) - len(" []")
        if room >= SHORTEST_BAR:
            head += f" [{_arrow(step / self.steps, min(room, LONGEST_BAR))}]"
        return "  ".join([head, count, *fields])[:columns]

    def _draw(self, line: str):
        self._put("\r" + line.ljust(min(self.drawn, max(10, self.size()[0] - 1))))
        self.drawn = len(line)

    def _put(self, text: str):
        if not put(self.stream, text):
            self.terminal = False


def _arrow(fraction: float, width: int) -> str:
    done = int(min(1, max(0, fraction)) * width)
    return ("=" * done + ">" * (done < width)).ljust(width)


def _fields(images_per_second=None, **numbers) -> list[str]:
    """`loss 0.312` and so on; what is None is left out."""
    fields = [f"{name} {_number(name, value)}" for name, value in numbers.items() if value is not None]
    return (
        fields
        if images_per_second is None
        else [*fields, f"{images_per_second:.{_digits(images_per_second)}f} img/s"]
    )


def _number(name: str, value: float) -> str:
    return f"{value:.3g}" if name == "rate" else f"{value:.3f}"


def _digits(value: float) -> int:
    """Decimals that a speed deserves."""
    return 0 if value >= 10 else 1


def _is_terminal(stream) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # no stream, or a closed one
        return False
