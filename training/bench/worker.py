"""Runs one workload of a benchmark in a process of its own: the worker of `interleaved.py`.

A request is a number of units of work, and its answer seconds; "peak_gb" asks for the largest resident memory.
"""

import resource

from training.bench.workload import Workload

WARM_UP = 2


def start(text: str):
    """Builds and warms up a workload, given as JSON; returns the function that answers requests."""
    workload = Workload.from_json(text)
    if workload.mode == "input":
        from training.bench.input_workloads import make
    elif workload.mode == "matmul":
        from training.bench.keras_workloads import time_matmul as make
    elif workload.engine.startswith("torch"):
        from training.bench.torch_workloads import make
    else:
        from training.bench.keras_workloads import make
    run = make(workload)
    if workload.mode not in ("build", "first_step"):
        run(WARM_UP)

    def answer(request):
        if request == "peak_gb":
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return run(request)

    return answer
