"""How cost grows with depth and with the batch: python docs/performance/growth.py

Writes growth.json and growth.png into its own folder: time to build CIFAR ResNets and to run their first training
step, per layer with weights (the depths are measured in turn, so that other load affects all of them equally); and
the peak memory of a process that trains ResNet-50 at 224 pixels, ours and that of keras.applications.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from keras_cnns.deep import deep_recursion
from training.bench import interleaved
from training.bench.workload import Workload
from training.report import environment

PLACE = Path(__file__).parent
DEPTHS = (20, 56, 110, 1202)
BATCHES = (4, 8, 16, 32)
ROUNDS = 5


def tell(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


def per_layer(mode: str, depths: tuple[int, ...], rounds: int) -> list[dict]:
    """Milliseconds a layer with weights, at each depth."""
    workloads = [Workload("ours", f"resnet{depth}", mode, batch=1, size=32) for depth in depths]
    found = []
    for depth, one in zip(depths, interleaved.measure(workloads, rounds, tell), strict=True):
        if one.error:
            raise SystemExit(f"resnet{depth}, {mode}: {one.error}")
        median, *limits = interleaved.median_range([1000 * s / depth for s in one.seconds])
        found.append(
            {
                "mode": mode,
                "depth": depth,
                "rounds": len(one.seconds),
                "ms_per_layer": round(median, 3),
                "range": [round(limit, 3) for limit in limits],
            }
        )
        tell(str(found[-1]))
    return found


def memory() -> list[dict]:
    """Peak resident gigabytes of training, at each batch."""
    first = Workload("ours", "resnet50_v1", "train")
    found = []
    for engine in ("ours", "keras_applications"):
        for batch in BATCHES:
            (one,) = interleaved.measure([replace(first, engine=engine, batch=batch)], 1, tell)
            if one.error:
                raise SystemExit(f"{engine}: {one.error}")
            found.append({"engine": engine, "batch": batch, "peak_gb": round(one.peak_gb, 3)})
            tell(str(found[-1]))
    return found


def draw(found: dict) -> None:
    """The two plots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for mode, label in (("build", "building"), ("first_step", "first training step")):
        rows = [r for r in found["layers"] if r["mode"] == mode]
        middle = [r["ms_per_layer"] for r in rows]
        spread = [[m - r["range"][0] for m, r in zip(middle, rows, strict=True)]]
        spread += [[r["range"][1] - m for m, r in zip(middle, rows, strict=True)]]
        left.errorbar([r["depth"] for r in rows], middle, spread, marker="o", capsize=3, label=label)
    left.set(xscale="log", xlabel="layers with weights", ylabel="milliseconds a layer", ylim=(0, None))
    left.set_xticks(DEPTHS, [str(d) for d in DEPTHS])
    left.minorticks_off()
    left.legend()
    for engine, label in (("ours", "keras_cnns"), ("keras_applications", "keras.applications")):
        rows = [r for r in found["memory"] if r["engine"] == engine]
        right.plot([r["batch"] for r in rows], [r["peak_gb"] for r in rows], marker="o", label=label)
    right.set(xlabel="batch, ResNet-50 at 224 pixels", ylabel="peak memory in GB", xlim=(0, None), ylim=(0, None))
    right.legend()
    figure.savefig(PLACE / "growth.png", dpi=120)


def main() -> None:
    with deep_recursion():
        layers = per_layer("build", DEPTHS, ROUNDS) + per_layer("first_step", DEPTHS, ROUNDS)
    found = {"command": "python docs/performance/growth.py", **environment.machine()}
    found |= {"layers": layers, "memory": memory()}
    (PLACE / "growth.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(found)


if __name__ == "__main__":
    main()
