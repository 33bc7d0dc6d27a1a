"""One contestant's process: python -m training.bench.worker TASK_AS_JSON

It says {"ready": ...} once it has warmed up, then answers every line "n" with {"seconds": ...} for n units of
work, and at the end of its input {"peak_gb": ...}. What it cannot do it says as {"unavailable": ...}.
"""

import json
import os
import resource
import sys

from training.bench.task import Task, Unavailable

WARM_UP = 2


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer

    def say(**what):
        print(json.dumps(what), file=answers, flush=True)

    task = Task.from_json(sys.argv[1])
    try:
        if task.mode == "input":
            from training.bench.input_subjects import make
        elif task.mode == "matmul":
            from training.bench.keras_subjects import matmul as make
        elif task.engine.startswith("torch"):
            from training.bench.torch_subjects import make
        else:
            from training.bench.keras_subjects import make
        run = make(task)
        if task.mode not in ("build", "first_step"):
            run(WARM_UP)
    except Unavailable as error:
        say(unavailable=str(error))
        return
    say(ready=True)
    for line in sys.stdin:
        say(seconds=run(int(line)))
    say(peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


if __name__ == "__main__":
    main()
