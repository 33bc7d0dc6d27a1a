"""What a search maximises: accuracy, accuracy less its cost, or a front of both."""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from keras_cnns.errors import unknown
from keras_cnns.values import Fraction, Value

COSTS = ("params", "macs", "latency_ms")
PRICE = 0.01
CORNER = 0.05  # of augmented Chebyshev scalarisation, as in ParEGO


@dataclass(frozen=True)
class Objective(Value):
    """Validation top-1, alone or against a cost.

    Attributes:
        kind: "accuracy"; "weighted", less `price` for every doubling of the cost; or "pareto", which looks for all
            that no other beats in both, by another random weighing of the two before each proposal (ParEGO,
            Knowles 2006).
        cost: what is weighed; of "accuracy" it is only what the front is drawn against.
        price: share of top-1.
    """

    kind: Literal["accuracy", "weighted", "pareto"] = "accuracy"
    cost: Literal["params", "macs", "latency_ms"] = "macs"
    price: Fraction = PRICE

    def score(self, top1: float, cost: float) -> float:
        """The figure by which trials are compared; larger is better."""
        return top1 - self.price * math.log2(max(cost, 1e-9)) if self.kind == "weighted" else top1


def parse(text: str) -> Objective:
    """What `--objective` means: "accuracy", "accuracy-0.02*macs" or "pareto:params".

    >>> parse("accuracy-0.02*macs")
    Objective(kind='weighted', cost='macs', price=0.02)
    """
    if text == "accuracy":
        return Objective()
    if text.startswith("pareto"):
        cost = text.partition(":")[2] or "macs"
        return Objective("pareto", _cost(cost))
    price, _, cost = text.removeprefix("accuracy-").partition("*")
    try:
        weight = float(price)
    except ValueError:
        weight = -1.0
    if not text.startswith("accuracy-") or not 0 < weight <= 1:
        ways = "accuracy, accuracy-0.02*macs (0.02 less for every doubling) or pareto:macs"
        raise ValueError(f"--objective wants {ways}; {text!r} came")
    return Objective("weighted", _cost(cost), weight)


def _cost(name: str) -> str:
    name = {"latency": "latency_ms"}.get(name, name)
    if name not in COSTS:
        raise ValueError(unknown("cost", name, COSTS))
    return name


def weighings(points: list[tuple[float, float]], number: int) -> list[float]:
    """One score a point (top-1, cost) under the weights that proposal `number` draws; larger is better."""
    if not points:
        return []
    share = random.Random(number).random()
    accuracy = _unit([top1 for top1, _ in points])
    thrift = _unit([-math.log2(max(cost, 1e-9)) for _, cost in points])
    both = [(share * a, (1 - share) * t) for a, t in zip(accuracy, thrift, strict=True)]
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
