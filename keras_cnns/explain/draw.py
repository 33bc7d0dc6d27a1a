"""`draw`: a picture of a network with stages side by side, units top to bottom, shortcuts beside the main path."""

from dataclasses import dataclass, field
from pathlib import Path

import keras

from keras_cnns.explain.structure import Box, Unit, panels

FORMATS = (".png", ".svg")
COLOURS = {
    "conv": "#cfe2f7",
    "pool": "#d3edd4",
    "dense": "#fbdcc0",
    "join": "#fdf3b8",
    "norm": "#e4e4e4",
    "input": "#ffffff",
    "model": "#e3d6f2",
    "other": "#ececec",
}
RED = "#b03030"  # shortcuts and counts
# All lengths in inches.
WIDE, HIGH, GAP, LANE, MARGIN, GUTTER, STEP, BADGE = 1.75, 0.42, 0.3, 0.3, 0.16, 0.5, 0.42, 0.6
TALLEST = 7.5  # a higher stage continues in another column
WIDEST = 21.0  # further columns continue in another line


def draw(model: keras.Model, path: str | Path) -> Path:
    """Draws stages, units and shapes of a model to a PNG or SVG file, by the suffix of `path`.

    Each box is a layer with the norm and activation that follow it, numbers in grey are shapes (height x width x
    channels), lines beside the boxes are shortcuts, and "x 3" means three equal consecutive units. Layers are
    grouped by name if it is of this package or keras.applications, otherwise by map size.

    Returns:
        the path.

    Raises:
        ValueError: another suffix, or a model without a graph.

    Example:

    >>> import keras_cnns, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw(keras_cnns.LeNet5(), folder + "/lenet5.png").stat().st_size > 10_000
    True
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"a picture must end in {' or '.join(FORMATS)}, got {path.name!r}")
    from matplotlib.figure import Figure

    lines = _lines(_columns(model))
    width = max(sum(c.width + GUTTER for c in line) for line in lines) + GUTTER
    height = sum(max(c.height for c in line) + GUTTER for line in lines) + 0.9
    figure = Figure(figsize=(max(width, 6.0), height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, max(width, 6.0))
    axes.set_ylim(height, 0)  # y runs down, as the data do
    axes.axis("off")
    shapes = [tuple(t.shape[1:]) for t in (*model.inputs, *model.outputs)]
    sizes = " → ".join("x".join("?" if s is None else str(s) for s in shape) for shape in shapes[:2])
    axes.text(GUTTER, 0.36, model.name, size=15, weight="bold", va="center")
    axes.text(GUTTER, 0.64, f"{sizes},  {model.count_params():,} parameters", size=9, color="#555555", va="center")
    _Picture(axes, lines).paint(GUTTER, 1.0)
    figure.savefig(path, dpi=130, facecolor="white")
    return path


# --- layout ------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Cell:
    """A unit with positions of its boxes: `row` from the top, `lane` from the left; lane 0 is the main path."""

    unit: Unit
    row: dict[Box, int]
    lane: dict[Box, int]
    shortcuts: list[tuple[Box | None, Box, int]]  # from (None: the input of the unit), to, lane
    wide: list[bool]  # for each lane: whether it has boxes, or only a line

    @property
    def framed(self) -> bool:
        return len(self.unit.boxes) > 1

    @property
    def width(self) -> float:
        lanes = sum(WIDE if w else 0.0 for w in self.wide) + LANE * (len(self.wide) - 1)
        return lanes + (2 * MARGIN if self.framed else 0)

    @property
    def span(self) -> float:
        return self.width + (BADGE if self.unit.like else 0)

    @property
    def height(self) -> float:
        rows = max(self.row.values()) + 1
        return rows * HIGH + (rows - 1) * GAP + (2 * MARGIN + GAP if self.framed else 0)


@dataclass(eq=False)
class Column:
    """One column of the picture; a high stage has several."""

    title: str
    cells: list[Cell] = field(default_factory=list)

    @property
    def width(self) -> float:
        return max(c.span for c in self.cells) + 2 * MARGIN

    @property
    def height(self) -> float:
        return sum(c.height + STEP for c in self.cells) + 2 * MARGIN + 0.3


def _columns(model) -> list[Column]:
    columns = []
    for panel in panels(model):
        columns.append(Column(panel.title))
        for unit in panel.units:
            cell = _arrange(unit)
            if columns[-1].cells and columns[-1].height + cell.height > TALLEST:
                columns.append(Column(f"{panel.title} (continued)"))
            columns[-1].cells.append(cell)
    return columns


def _lines(columns: list[Column]) -> list[list[Column]]:
    lines: list[list[Column]] = [[]]
    for column in columns:
        if lines[-1] and sum(c.width + GUTTER for c in lines[-1]) + column.width > WIDEST:
            lines.append([])
        lines[-1].append(column)
    return lines


def _arrange(unit: Unit) -> Cell:
    boxes = unit.boxes
    inside = set(boxes)
    row: dict[Box, int] = {}
    for box in boxes:  # in order of computation
        row[box] = max((row[b] + 1 for b in box.inputs if b in inside), default=0)
    # The main path is a longest path, traced back from the last box.
    main, box = {unit.last}, unit.last
    while before := [b for b in box.inputs if b in inside]:
        box = max(before, key=lambda b: (row[b], b.kind == "conv"))
        main.add(box)
    lane = dict.fromkeys(main, 0)
    taken: list[list[tuple[int, int]]] = [[]]  # rows in use, a list for every lane
    wide, shortcuts = [True], []

    def free(top: int, bottom: int, boxed: bool) -> int:
        for i in range(1, len(wide)):
            if wide[i] == boxed and all(bottom < a or b < top for a, b in taken[i]):
                break
        else:
            i = len(wide)
            wide.append(boxed)
            taken.append([])
        taken[i].append((top, bottom))
        return i

    readers = {b: [r for r in boxes if b in r.inputs] for b in boxes}
    for box in boxes:
        if box in lane:
            continue
        # A side path continues while it has a single reader that is not on the main path.
        path = [box]
        while len(nexts := readers[path[-1]]) == 1 and nexts[0] not in lane and nexts[0] not in path:
            path.append(nexts[0])
        bottom = min((row[r] for r in readers[path[-1]]), default=row[path[-1]] + 1) - 1
        chosen = free(row[box], max(bottom, row[path[-1]]), True)
        lane.update(dict.fromkeys(path, chosen))
    for box in boxes:
        sources = [b if b in inside else None for b in box.inputs]
        for source in dict.fromkeys(sources):
            start = -1 if source is None else row[source]
            direct = source is not None and lane[source] == lane[box] and row[box] == start + 1
            opens = source is None and row[box] == 0
            if direct or opens:
                continue
            if source is not None and lane[source] != lane[box] and (lane[source] or lane[box]):
                shortcuts.append((source, box, -1))  # a branch leaves or enters the main path
            else:
                shortcuts.append((source, box, free(start + 1, row[box] - 1, False)))
    return Cell(unit, row, lane, shortcuts, wide)


# --- painting ------------------------------------------------------------------------------------------


class _Picture:
    """Draws lines of columns on axes: first all units, then the arrows between them."""

    def __init__(self, axes, lines: list[list[Column]]):
        self.axes, self.lines = axes, lines
        self.entry: dict[Cell, tuple[float, float]] = {}  # where the arrow into a unit ends
        self.exit: dict[Cell, tuple[float, float]] = {}  # where the arrow out of a unit starts
        self.cell_of: dict[Box, Cell] = {}
        self.column_of: dict[Cell, tuple[float, float, float, float]] = {}

    def paint(self, x: float, y: float) -> None:
        for line in self.lines:
            left = x
            for column in line:
                self._column(column, left, y)
                left += column.width + GUTTER
            y += max(column.height for column in line) + GUTTER
        cells = [cell for line in self.lines for column in line for cell in column.cells]
        order = {cell: i for i, cell in enumerate(cells)}
        for cell in cells:
            sources = {self.cell_of[b] for box in cell.unit.boxes for b in box.inputs if b in self.cell_of} - {
                cell
            }
            for source in sorted(sources, key=order.get):
                self._connect(source, cell, far=order[cell] - order[source] != 1)

    def _column(self, column: Column, x: float, y: float) -> None:
        from matplotlib.patches import FancyBboxPatch

        self.axes.add_patch(
            FancyBboxPatch(
                (x, y),
                column.width,
                column.height,
                boxstyle="round,pad=0,rounding_size=0.1",
                facecolor="#f7f7f7",
                edgecolor="#dddddd",
                zorder=0,
            )
        )
        self.axes.text(
            x + column.width / 2, y + 0.2, column.title, size=10, weight="bold", ha="center", va="center"
        )
        frame = (x, y, column.width, column.height)
        y += 0.3 + MARGIN
        for cell in column.cells:
            self.column_of[cell] = frame
            # The main paths of a column stand above each other.
            self._cell(cell, x + MARGIN + (max(c.framed for c in column.cells) and not cell.framed) * MARGIN, y)
            y += cell.height + STEP

    def _cell(self, cell: Cell, x: float, y: float) -> None:
        from matplotlib.patches import FancyBboxPatch

        top = y
        if cell.framed:
            self.axes.add_patch(
                FancyBboxPatch(
                    (x, y),
                    cell.width,
                    cell.height,
                    boxstyle="round,pad=0,rounding_size=0.08",
                    facecolor="white",
                    edgecolor="#999999",
                    linewidth=0.8,
                    zorder=1,
                )
            )
            x, y = x + MARGIN, y + MARGIN + GAP
        lanes, at = [], x
        for i, wide in enumerate(cell.wide):
            at += LANE if i else 0
            lanes.append(at)
            at += WIDE if wide else 0
        ends = {}
        for box in cell.unit.boxes:
            left, up = lanes[cell.lane[box]], y + cell.row[box] * (HIGH + GAP)
            width = WIDE
            feeding = [cell.lane[b] for b in box.inputs if b in cell.lane]
            if box.kind == "join" and max(feeding, default=0) > cell.lane[box]:
                width = lanes[max(feeding)] + WIDE - left
            self._box(box, left, up, width)
            ends[box] = (left, up, width)
        for box in (b for unit in (cell.unit, *cell.unit.like) for b in unit.boxes):
            self.cell_of[box] = cell
        middle = lanes[0] + WIDE / 2
        self.entry[cell] = (middle, top if cell.framed else y)
        last = ends[cell.unit.last]
        self.exit[cell] = (middle, top + cell.height)
        if cell.framed:
            self._inside(cell, lanes, ends, top)
            self._line([(middle, last[1] + HIGH), (middle, top + cell.height)])
        if cell.unit.like:
            x, y = x + cell.width - MARGIN + 0.1, top + cell.height / 2
            number = f"x {len(cell.unit.like) + 1}"
            self.axes.text(x, y, number, size=13, weight="bold", va="center", color=RED, zorder=5)
        shape = cell.unit.last.shape
        self.axes.text(middle + 0.1, top + cell.height + STEP / 2, shape, size=7.5, color="#777777", va="center")

    def _box(self, box: Box, x: float, y: float, width: float) -> None:
        from matplotlib.patches import FancyBboxPatch

        self.axes.add_patch(
            FancyBboxPatch(
                (x, y),
                width,
                HIGH,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=COLOURS[box.kind],
                edgecolor="#555555",
                linewidth=0.7,
                zorder=3,
            )
        )
        notes = ", ".join(box.notes)
        lift = 0.075 if notes else 0
        small = 8 if len(box.title) <= 24 else 6.5
        self.axes.text(
            x + width / 2, y + HIGH / 2 - lift, box.title, size=small, ha="center", va="center", zorder=4
        )
        if notes:
            self.axes.text(
                x + width / 2,
                y + HIGH / 2 + 0.1,
                notes if len(notes) <= 34 else notes[:31] + "...",
                size=6.5,
                color="#444444",
                ha="center",
                va="center",
                zorder=4,
            )

    def _inside(self, cell: Cell, lanes, ends, top: float) -> None:
        """Draws the arrows within a unit, whose input enters at the top, above the main path."""
        middle = lanes[0] + WIDE / 2
        gate = top + MARGIN
        self._line([(middle, top), (middle, gate)])
        for box in cell.unit.boxes:
            left, up, _ = ends[box]
            centre = left + WIDE / 2
            if any(b not in cell.lane for b in box.inputs) and cell.row[box] == 0:
                self._arrow([(middle, gate), (centre, gate), (centre, up)])
            for b in box.inputs:
                if b in cell.lane and cell.lane[b] == cell.lane[box] and cell.row[box] == cell.row[b] + 1:
                    self._arrow([(centre, ends[b][1] + HIGH), (centre, up)])
        for source, box, lane in cell.shortcuts:
            left, up, width = ends[box]
            if source is None:
                start = (middle, gate)
            else:
                start = (ends[source][0] + WIDE / 2, ends[source][1] + HIGH + GAP * 0.35)
                self._line([(start[0], ends[source][1] + HIGH), start])
            if lane >= 0:  # a separate line into the side of the box
                x = lanes[lane]
                if box.kind == "join" and x < left + width:  # or from above if the box extends below it
                    self._arrow([start, (x, start[1]), (x, up)], RED)
                else:
                    side = up + HIGH / 2
                    self._arrow([start, (x, start[1]), (x, side), (left + width, side)], RED)
            elif cell.lane[source] > cell.lane[box] and box.kind == "join":
                self._arrow([(start[0], ends[source][1] + HIGH), (start[0], up)])
            else:
                centre = left + WIDE / 2
                self._arrow([start, (centre, start[1]), (centre, up)])

    def _connect(self, source: Cell, target: Cell, far: bool) -> None:
        (x0, y0), (x1, y1) = self.exit[source], self.entry[target]
        right, same = (
            x0 - WIDE / 2 + source.width - source.framed * MARGIN,
            self.column_of[source] is self.column_of[target],
        )
        middle = y0 - HIGH / 2
        if far and same:  # a shortcut between boxes without a unit
            side, up = x1 + WIDE / 2, y1 + HIGH / 2
            self._arrow([(right, middle), (right + 0.1, middle), (right + 0.1, up), (side, up)], RED)
        elif far:
            style = {"arrowstyle": "-|>", "connectionstyle": "arc3,rad=-0.12", "color": RED, "linestyle": "--"}
            self.axes.annotate("", (x1, y1), (right, middle), arrowprops=style, zorder=2)
        elif same:
            self._arrow([(x0, y0), (x0, y1)])
        else:
            low, high = y0 + STEP / 2 + 0.12, y1 - 0.1
            (left, top, *_), (start, line, wide, _) = self.column_of[target], self.column_of[source]
            between = left - GUTTER / 2
            if top != line:  # into the next line
                edge, gap = start + wide + GUTTER / 2, top - GUTTER / 2
                self._arrow(
                    [
                        (x0, y0),
                        (x0, low),
                        (edge, low),
                        (edge, gap),
                        (between, gap),
                        (between, high),
                        (x1, high),
                        (x1, y1),
                    ]
                )
            elif source.framed or abs(y0 - HIGH - y1) > 0.01:  # down, up between the columns, in from above
                self._arrow([(x0, y0), (x0, low), (between, low), (between, high), (x1, high), (x1, y1)])
            elif target.framed:
                self._arrow([(right, middle), (between, middle), (between, high), (x1, high), (x1, y1)])
            else:  # two boxes side by side
                self._arrow([(right, middle), (x1 - WIDE / 2, middle)])

    def _line(self, points, colour: str = "#444444") -> None:
        xs, ys = zip(*points, strict=True)
        self.axes.plot(xs, ys, color=colour, linewidth=1.0, solid_capstyle="round", zorder=2)

    def _arrow(self, points, colour: str = "#444444") -> None:
        self._line(points, colour)
        style = {
            "arrowstyle": "-|>",
            "color": colour,
            "linewidth": 1.0,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 8,
        }
        self.axes.annotate("", points[-1], points[-2], arrowprops=style, zorder=2)
