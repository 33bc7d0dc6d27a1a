"""Results as records in the column names of timm's benchmark, and as a table."""

from training.bench.interleaved import FLOPS, Competitor, median_range, speed_ratio

# Modes that timm's columns have a name for; other modes keep their own.
COLUMN_PREFIXES = {"fused": "infer", "eager": "infer", "predict": "infer"}


def make_record(one: Competitor, first: Competitor, sizes: dict, peak: float | None) -> dict:
    """One measurement: timm's `train_samples_per_sec`, `infer_step_time` (ms), ... and columns of our own.

    Args:
        first: the competitor of `ratio`, which says how many times faster it is than `one`.
        sizes: {"params": ..., "macs": ...} of the network at this size.
        peak: floating-point operations a second of the machine, for the utilisation `mfu`.
    """
    workload = one.workload
    about = {"model": workload.arch, "engine": workload.engine, "mode": workload.mode}
    about |= {"precision": workload.precision, "xla": workload.xla}
    if one.error:
        return about | {"error": one.error}
    kind = COLUMN_PREFIXES.get(workload.mode, workload.mode)
    median, shortest, longest = median_range(one.seconds)
    found = about | {
        f"{kind}_samples_per_sec": round(workload.batch / median, 3),
        f"{kind}_step_time": round(1000 * median, 3),
        f"{kind}_batch_size": workload.batch,
        f"{kind}_img_size": workload.size,
        f"{kind}_gmacs": round(sizes["macs"] / 1e9, 3),
        "param_count": round(sizes["params"] / 1e6, 3),
        "rounds": len(one.seconds),
        "samples_per_sec_range": [round(workload.batch / s, 3) for s in (longest, shortest)],
        "peak_memory_gb": round(one.peak_gb, 3),
    }
    if peak and workload.mode in FLOPS:
        found["mfu"] = round(FLOPS[workload.mode] * sizes["macs"] * workload.batch / median / peak, 3)
    if one is not first and not first.error:
        found["ratio"], *found["ratio_range"] = (round(value, 3) for value in speed_ratio(first, one))
    return found


def format_table(records: list[dict]) -> str:
    """The records of one comparison, one line for each engine."""
    lines = [
        f"{'':20}{'per second':>12}{'min - max':>18}{'ms':>10}{'ratio':>8}{'min - max':>15}{'GB':>7}{'MFU':>6}"
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
