"""Results as records in the column names of timm's benchmark, and as a table."""

import statistics

from training.bench.interleaved import FLOPS, Competitor, ratio

SPOKEN = {"infer": "infer", "fused": "infer", "eager": "infer", "predict": "infer", "train": "train"}


def record(one: Competitor, first: Competitor, sizes: dict, peak: float | None) -> dict:
    """One measurement: `train_samples_per_sec`, `infer_step_time` (ms), ... and ours beside timm's columns.

    Args:
        first: the contestant that `ratio` compares with: how many times faster it is than `one`.
        sizes: {"params": ..., "macs": ...} of the network at this size.
        peak: operations a second of the machine, for the utilisation `mfu`.
    """
    task = one.task
    about = {"model": task.arch, "engine": task.engine, "mode": task.mode}
    about |= {"precision": task.precision, "xla": task.xla}
    if one.excuse:
        return about | {"error": one.excuse}
    rates, kind = sorted(one.rates), SPOKEN.get(task.mode, task.mode)
    middle = statistics.median(one.seconds)
    found = about | {
        f"{kind}_samples_per_sec": round(task.batch / middle, 3),
        f"{kind}_step_time": round(1000 * middle, 3),
        f"{kind}_batch_size": task.batch,
        f"{kind}_img_size": task.size,
        f"{kind}_gmacs": round(sizes["macs"] / 1e9, 3),
        "param_count": round(sizes["params"] / 1e6, 3),
        "rounds": len(rates),
        "samples_per_sec_range": [round(rates[0], 3), round(rates[-1], 3)],
        "peak_memory_gb": round(one.peak_gb, 3),
    }
    if peak and task.mode in FLOPS:
        found["mfu"] = round(FLOPS[task.mode] * sizes["macs"] * task.batch / middle / peak, 3)
    if one is not first and not first.excuse:
        spread = ratio(first, one)
        found["ratio"] = round(spread.median, 3)
        found["ratio_range"] = [round(spread.least, 3), round(spread.most, 3)]
    return found


def table(records: list[dict]) -> str:
    """The records of one discipline, one line an engine."""
    lines = [
        f"{'':20}{'per second':>12}{'least - most':>18}{'ms':>10}"
        f"{'ratio':>8}{'least - most':>15}{'GB':>7}{'MFU':>6}"
    ]
    for r in records:
        name = (
            r["engine"] if r["mode"] in ("train", "input", "build", "first_step") else f"{r['engine']} {r['mode']}"
        )
        if "error" in r:
            lines.append(f"{name:20}  {r['error']}")
            continue
        rate = next(v for k, v in r.items() if k.endswith("_samples_per_sec"))
        ms = next(v for k, v in r.items() if k.endswith("_step_time"))
        low, high = r["samples_per_sec_range"]
        against = (
            f"{r['ratio']:>8.2f}{'{:.2f} - {:.2f}'.format(*r['ratio_range']):>15}" if "ratio" in r else " " * 23
        )
        mfu = f"{r['mfu']:>6.2f}" if "mfu" in r else ""
        lines.append(
            f"{name:20}{rate:>12.4g}{f'{low:.4g} - {high:.4g}':>18}{ms:>10.4g}"
            f"{against}{r['peak_memory_gb']:>7.2f}{mfu}"
        )
    return "\n".join(lines)
