"""The table of trials while they run, on a terminal; and a line in the log for each trial that ends."""

import csv

from training.report.folder import History, Log
from training.report.progress import Display, duration
from training.search.trials import Trial, ranked

MARKS = {"done": "", "failed": "failed", "open": "running"}


class Table:
    """Shows trials on a stream that is a terminal; the log takes the line of each trial that has ended.

    `names` are those of the dimensions; `size` is (columns, lines) of the terminal, for tests.
    """

    def __init__(self, stream, log: Log, names: list[str], total: int | None, size: tuple[int, int] | None = None):
        self.log, self.names, self.total = log, names, total
        self.display, self.screen, self.said = Display(stream, size), "", set()

    def show(self, trials: list[Trial]) -> None:
        """Draws the trials as they are now, and logs those that have ended since."""
        best = ranked(trials)[:1]
        for trial in trials:
            if trial.status != "open" and trial.number not in self.said:
                self.said.add(trial.number)
                of = f" ({len(self.said)} of {self.total})" if self.total else ""
                self.say(self._line(trial, of, trial in best))
        screen = self._screen(trials)
        if screen != self.screen:
            self.display.show(screen)
            self.screen = screen

    def say(self, text: str) -> None:
        """A line in the log, above the table."""
        self.display.clear()
        self.screen = ""
        self.log(text)

    def _line(self, trial: Trial, of: str, best: bool) -> str:
        chosen = " ".join(f"{name}={trial.chosen[name]}" for name in self.names)
        costs = f"{trial.cost['params']:,} parameters {trial.cost['macs']:,} MACs"
        if trial.status == "failed":
            return f"trial {trial.folder.name}{of}: {chosen}  {costs}  failed: {trial.why}"
        return (
            f"trial {trial.folder.name}{of}: {chosen}  {costs}  val top-1 {trial.top1:.4f}{'  best so far' * best}"
        )

    def _screen(self, trials: list[Trial]) -> str:
        best, room = ranked(trials), max(1, self.display.live.console.height - 5)
        # As many as fit, those that run first, then the best; in the order of their numbers.
        first = [t for t in trials if t.status == "open"] + best + [t for t in trials if t.status == "failed"]
        rows = [self._cells(t, t in best[:1]) for t in sorted(first[:room], key=lambda t: t.number)]
        head = ["trial", "", "val top-1", "epoch", "time", *(name.removeprefix("recipe.") for name in self.names)]
        head += ["MACs", "parameters"]  # last, since a narrow terminal cuts them off
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        text = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in (head, *rows)]
        count = {s: sum(t.status == s for t in trials) for s in MARKS}
        of = f" of {self.total}" if self.total else ""
        text.append(f"{count['done']} done{of}, {count['failed']} failed, {count['open']} running")
        return "\n".join(text) + "\n"  # what else is printed begins a line

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
