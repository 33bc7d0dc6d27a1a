"""The table of trials while they run: redrawn on a terminal, a line for each that ends in a pipe."""

import csv
import shutil

from training.report.folder import History, Log
from training.report.progress import duration
from training.report.stream import put
from training.search.trials import Trial, ranked

MARKS = {"done": "", "failed": "failed", "open": "running"}


class Table:
    """Shows trials.

    Args:
        stream: a terminal is drawn on; log: takes the line of each trial that has ended.
        names: of the dimensions; total: trials that are wanted, or None.
        size: (columns, lines) of the terminal, for tests.
    """

    def __init__(self, stream, log: Log, names: list[str], total: int | None, size=shutil.get_terminal_size):
        self.stream, self.log, self.names, self.total, self.size = stream, log, names, total, size
        self.terminal = getattr(stream, "isatty", lambda: False)()
        self.drawn, self.screen, self.said = 0, "", set()

    def show(self, trials: list[Trial]) -> None:
        """After a change, or every second on a terminal."""
        best = ranked(trials)[:1]
        for trial in trials:
            if trial.status != "open" and trial.number not in self.said:
                self.said.add(trial.number)
                of = f" ({len(self.said)} of {self.total})" if self.total else ""
                self.say(self._line(trial, of, trial in best))
        if self.terminal:
            self._draw(trials)

    def say(self, text: str) -> None:
        """A line above the table."""
        self.clear()
        self.log(text)

    def clear(self) -> None:
        """Wipes the table off the terminal."""
        if self.drawn:
            put(self.stream, f"\x1b[{self.drawn}A\x1b[J")
            self.drawn = 0

    def _line(self, trial: Trial, of: str, best: bool) -> str:
        chosen = " ".join(f"{name}={trial.chosen[name]}" for name in self.names)
        costs = f"{trial.cost['params']:,} parameters {trial.cost['macs']:,} MACs"
        if trial.status == "failed":
            return f"trial {trial.folder.name}{of}: {chosen}  {costs}  failed: {trial.why}"
        return (
            f"trial {trial.folder.name}{of}: {chosen}  {costs}  val top-1 {trial.top1:.4f}{'  best so far' * best}"
        )

    def _draw(self, trials: list[Trial]) -> None:
        columns, lines = self.size()
        room = max(1, lines - 5)
        best = ranked(trials)
        # What runs, then the best, as far as they fit; shown by number.
        shown = ([t for t in trials if t.status == "open"] + best + [t for t in trials if t.status == "failed"])[
            :room
        ]
        rows = [self._cells(t, t in best[:1]) for t in sorted(shown, key=lambda t: t.number)]
        head = ["trial", "", "val top-1", "epoch", "time", *(name.removeprefix("recipe.") for name in self.names)]
        head += ["MACs", "parameters"]  # what a narrow terminal cuts off stands last
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        text = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in (head, *rows)]
        count = {s: sum(t.status == s for t in trials) for s in MARKS}
        of = f" of {self.total}" if self.total else ""
        text.append(f"{count['done']} done{of}, {count['failed']} failed, {count['open']} running")
        screen = "".join(line[: columns - 1].rstrip() + "\n" for line in text)
        if screen != self.screen or not self.drawn:
            self.clear()
            put(self.stream, screen)
            self.drawn, self.screen = len(text), screen

    def _cells(self, trial: Trial, best: bool) -> list[str]:
        epochs, last = trial.recipe.epochs, progress(trial)
        top1 = trial.top1 if trial.result else last.get("val_top1")
        return [
            trial.folder.name,
            "best" if best else MARKS[trial.status],
            "" if top1 is None else f"{top1:.4f}",
            f"{last.get('epoch', 0)}/{epochs}",
            duration(last["seconds"]) if last else "",
            *(trial.chosen[name] for name in self.names),
            f"{trial.cost['macs']:,}",
            f"{trial.cost['params']:,}",
        ]


def progress(trial: Trial) -> dict:
    """The last row of a trial's history, with the seconds of all epochs; empty before the first."""
    path = trial.folder / "history.csv"
    try:
        rows = History(path).rows if path.exists() else []
    except (OSError, ValueError, csv.Error):
        rows = []
    return {**rows[-1], "seconds": sum(row["seconds"] for row in rows)} if rows else {}
