"""The bar on a clock that the test turns."""

import io
import re
import sys

import pytest

from training.report.progress import Bar, ImageBar, duration

CONTROL = re.compile(r"\x1b\[[?0-9]*[A-Za-z]")


class Stream(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def make(terminal=True, columns=100, epochs=10, steps=98, **other):
    stream, clock = Stream(terminal), Clock()
    return Bar(epochs, steps, stream, clock=clock, size=(columns, 24), **other), stream, clock


def drawn(stream):
    """The text of each drawing, without control characters."""
    return [text for part in stream.getvalue().split("\r") if (text := CONTROL.sub("", part)).strip()]


NUMBERS = {"loss": 0.31249, "top1": 0.912, "rate": 0.05, "images_per_second": 412.3}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (192, "3:12"), (3729, "1:02:09"), (-3, "0:00"),
     (90000, "25:00:00"),
     (float("inf"), "?"), (float("nan"), "?")],
)  # fmt: skip
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_line_on_a_terminal():
    bar, stream, clock = make(columns=120)
    bar.start(3)
    clock.now += 60  # compiling does not count
    bar.update(1, **NUMBERS)
    clock.now += 8
    bar.update(41, **NUMBERS)
    first, second = drawn(stream)
    assert "left" not in first
    text = "epoch  3/10  41/98  loss 0.312  top1 0.912  rate 0.05  412 img/s  0:11 left "
    assert second.startswith(text)
    line = second[len(text) :].rstrip("\n")
    assert len(line.rstrip()) / len(line) == pytest.approx(41 / 98, abs=1 / len(line))


def test_at_most_five_lines_a_second_and_the_last_step_always():
    bar, stream, clock = make(steps=1000)
    for step in range(1, 1001):
        clock.now += 0.001
        bar.update(step, **NUMBERS)
    lines = drawn(stream)
    assert 5 <= len(lines) <= 6
    assert "1000/1000" in lines[-1]
    assert "\n" not in stream.getvalue()


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_lines_fit_the_terminal(columns):
    bar, stream, clock = make(columns=columns)
    for step in (1, 50, 98):
        clock.now += 1
        bar.update(step, **NUMBERS)
    assert all(len(line) <= columns for line in drawn(stream))
    assert "98/98" in drawn(stream)[-1]


def test_a_terminal_that_cannot_move_its_cursor_gets_no_bar(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    bar, stream, _ = make()
    bar.update(1, **NUMBERS)
    bar.end(seconds=3, **NUMBERS)
    assert stream.getvalue().count("\n") == 1


def test_lines_of_images_stand_above_the_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Stream(True))
    with ImageBar(32) as bar:
        for first in (0, 16):
            bar.write(f"{first}.png: cat")
            bar.update(16)
        assert "32/32 images" in drawn(sys.stderr)[-1]
    assert capsys.readouterr().out == "0.png: cat\n16.png: cat\n"
    assert sys.stderr.getvalue().endswith("\x1b[2K"), "the bar is removed"


def test_a_pipe_gets_one_line_an_epoch():
    bar, stream, clock = make(terminal=False, epochs=3)
    for epoch, seconds in ((1, 50), (2, 10), (3, 20)):
        bar.start(epoch)
        bar.update(98, **NUMBERS)
        clock.now += seconds
        bar.end(**NUMBERS, val_loss=0.4, val_top1=0.9)
    numbers = "loss 0.312  top1 0.912  val_loss 0.400  val_top1 0.900  rate 0.05  412 img/s"
    assert stream.getvalue().splitlines() == [
        f"epoch 1/3  {numbers}  0:50  1:40 to go",
        f"epoch 2/3  {numbers}  0:10  0:10 to go",  # the first epoch compiled
        f"epoch 3/3  {numbers}  0:20",
    ]


def test_epoch_lines_go_where_they_are_wanted():
    said = []
    bar, stream, _ = make(say=said.append)
    bar.start(10)
    bar.update(98, **NUMBERS)
    bar.end(seconds=3, **NUMBERS)
    assert said == ["epoch 10/10  loss 0.312  top1 0.912  rate 0.05  412 img/s  0:03"]
    assert stream.getvalue().endswith("\x1b[2K"), "the bar is removed before the line"


def test_a_broken_pipe_or_closed_stream_is_survived():
    class Broken(Stream):
        def write(self, text):
            raise BrokenPipeError

    bar = Bar(2, 5, Broken(True), clock=Clock())
    bar.update(1, **NUMBERS)
    bar.update(5, **NUMBERS)
    bar.end(**NUMBERS)
    bar, stream, _ = make()
    stream.close()
    bar.update(1, **NUMBERS)
    bar.end(**NUMBERS)
