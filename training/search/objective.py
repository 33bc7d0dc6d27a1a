"""The objective of a search: accuracy, accuracy less its cost, or a Pareto front of both."""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from keras_cnns.errors import unknown
from keras_cnns.values import Fraction, Value

COSTS = ("params", "macs", "latency_ms")
CORNER = 0.05  # of augmented Chebyshev scalarisation, as in ParEGO


@dataclass(frozen=True)
class Objective(Value):
    """Validation top-1, alone or against a cost.

    Attributes:
        kind: "accuracy"; "weighted", less `price` for every doubling of the cost; or "pareto", the trials that no
            other beats in both, found by other random weights of the two for each proposal (ParEGO, Knowles 2006).
        cost: params, macs or latency_ms; with "accuracy" only for drawing the front.
        price: fraction of top-1.
    """

    kind: Literal["accuracy", "weighted", "pareto"] = "accuracy"
    cost: Literal["params", "macs", "latency_ms"] = "macs"
    price: Fraction = 0.01

    def score(self, top1: float, cost: float) -> float:
        """The figure by which trials are ranked; larger is better."""
        return top1 - self.price * math.log2(max(cost, 1e-9)) if self.kind == "weighted" else top1


def parse(text: str) -> Objective:
    """What `--objective` means: "accuracy", "accuracy-0.02*macs" or "pareto:params".

    >>> parse("accuracy-0.02*macs")
    Objective(kind='weighted', cost='macs', price=0.02)
    """
    if text == "accuracy":
        return Objective()
    if text.startswith("pareto"):
        return Objective("pareto", _cost(text.partition(":")[2] or "macs"))
    price, _, cost = text.removeprefix("accuracy-").partition("*")
    try:
        weight = float(price)
    except ValueError:
        weight = -1.0
    if not text.startswith("accuracy-") or not 0 < weight <= 1:
        ways = "accuracy, accuracy-0.02*macs (0.02 less for every doubling) or pareto:macs"
        raise ValueError(f"--objective must be {ways}, got {text!r}")
    return Objective("weighted", _cost(cost), weight)


def _cost(name: str) -> str:
    name = {"latency": "latency_ms"}.get(name, name)
    if name not in COSTS:
        raise ValueError(unknown("cost", name, COSTS))
    return name


def weighted_scores(points: list[tuple[float, float]], number: int) -> list[float]:
    """A score for each point (top-1, cost) by the random weights of proposal `number`; larger is better."""
    if not points:
        return []
    weight = random.Random(number).random()
    accuracy = _unit([top1 for top1, _ in points])
    cheapness = _unit([-math.log2(max(cost, 1e-9)) for _, cost in points])
    both = [(weight * a, (1 - weight) * c) for a, c in zip(accuracy, cheapness, strict=True)]
    return [min(pair) + CORNER * sum(pair) for pair in both]


def _unit(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(v - low) / (high - low) if high > low else 1.0 for v in values]


def front(points: Iterable[tuple[float, float]]) -> list[int]:
    """Indices of the points (top-1, cost) that no other beats, cheapest first.

    >>> front([(0.9, 10), (0.8, 20), (0.95, 30), (0.9, 12)])
    [0, 2]
    """
    points, best, found = list(points), -math.inf, []
    for index in sorted(range(len(points)), key=lambda i: (points[i][1], -points[i][0])):
        if points[index][0] > best:
            best = points[index][0]
            found.append(index)
    return found
