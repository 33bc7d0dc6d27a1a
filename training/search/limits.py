"""What a candidate may cost, asked before it is trained."""

from dataclasses import dataclass

from keras_cnns.values import Positive, Value


@dataclass(frozen=True)
class Limits(Value):
    """Upper bounds; None is none."""

    params: Positive | None = None
    macs: Positive | None = None
    latency_ms: Positive | None = None

    def exceeded(self, cost: dict) -> str | None:
        """The first bound that a cost exceeds, in words, or None; what is not in `cost` is not asked."""
        for name, words in (("params", "parameters"), ("macs", "MACs"), ("latency_ms", "ms")):
            bound, value = getattr(self, name), cost.get(name)
            if bound is not None and value is not None and value > bound:
                number = f"{value:,.2f}" if name == "latency_ms" else f"{value:,}"
                return f"{number} {words}, more than --max-{name.replace('_', '-')} {bound:,g}"
        return None

    def __str__(self):
        found = [f"--max-{n.replace('_', '-')} {v:,g}" for n, v in vars(self).items() if v is not None]
        return " ".join(found) or "none"
