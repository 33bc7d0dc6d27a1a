"""The cost of a candidate: parameters and multiply-accumulates, counted, and latency, measured."""

import statistics
import timeit
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np

from keras_cnns import measure
from keras_cnns.architecture import Architecture
from keras_cnns.deep import deep_recursion
from keras_cnns.surgery.fuse import fuse
from keras_cnns.values import Positive, Value
from training.engine.backends import backend

ROUNDS, TIMES = 5, 20


@dataclass(frozen=True)
class Cost:
    """Trainable parameters, and multiply-accumulates of one image at training size."""

    params: int
    macs: int


class CostModel:
    """Counts and times networks for one data set, each once, so that equal networks have equal costs."""

    def __init__(self, image_size: int, channels: int, classes: int):
        self.shape, self.classes = (image_size, image_size, channels), classes
        self.known: dict[Architecture, Cost] = {}
        self.timed: dict[Architecture, float] = {}

    def __call__(self, architecture: Architecture) -> Cost:
        """Raises ValueError for a network that cannot be built."""
        if architecture not in self.known:
            found = measure(self.build(architecture))
            self.known[architecture] = Cost(found.trainable_params, found.macs)
        return self.known[architecture]

    def build(self, architecture: Architecture) -> keras.Model:
        """The network, untrained."""
        with deep_recursion():
            return architecture(input_shape=self.shape, classes=self.classes)

    def latency_ms(self, architecture: Architecture) -> float:
        """Milliseconds of one image through the fused network on this machine: the best of five medians.

        Workers that train at the same time make it longer: what is measured before they start seems faster.
        """
        if architecture not in self.timed:
            self.timed[architecture] = round(self._time(architecture), 3)
        return self.timed[architecture]

    def _time(self, architecture: Architecture) -> float:
        with deep_recursion():
            run = backend.forward(fuse(self.build(architecture)))
            image = keras.ops.convert_to_tensor(np.zeros((1, *self.shape), "float32"))
            timer = timeit.Timer(lambda: keras.ops.convert_to_numpy(run(image)))
            timer.repeat(3, 1)  # traces and compiles
            return 1000 * min(statistics.median(timer.repeat(TIMES, 1)) for _ in range(ROUNDS))


@dataclass(frozen=True)
class Constraints(Value):
    """Upper bounds of the cost; None is none."""

    params: Positive | None = None
    macs: Positive | None = None
    latency_ms: Positive | None = None

    ALIASES: ClassVar[tuple[str, ...]] = ("Limits",)

    def exceeded(self, cost: dict) -> str | None:
        """A message about the first bound that a cost exceeds, or None; what is not in `cost` is not checked."""
        for name, words in (("params", "parameters"), ("macs", "MACs"), ("latency_ms", "ms")):
            bound, value = getattr(self, name), cost.get(name)
            if bound is not None and value is not None and value > bound:
                number = f"{value:,.2f}" if name == "latency_ms" else f"{value:,}"
                return f"{number} {words}, more than --max-{name.replace('_', '-')} {bound:,g}"
        return None

    def __str__(self):
        found = [f"--max-{n.replace('_', '-')} {v:,g}" for n, v in vars(self).items() if v is not None]
        return " ".join(found) or "none"
