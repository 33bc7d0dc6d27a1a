"""Starts several workers of one run on this machine: python training/launch.py --workers N -- ARGUMENTS OF fit.py

When a worker dies the others end, too, and all are started again from the last checkpoint, so many times at most.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from training import cli, errors
from training.processes import free_ports

FIT = Path(__file__).with_name("fit.py")
GRACE = 30.0  # seconds in which workers may end by themselves
LONGEST_PAUSE = 60.0
FINAL = (2, 130, 143)  # bad arguments, or told to stop: starting again would not help

EXAMPLES = """examples:
  python training/launch.py --workers 2 -- --arch resnet20 --run runs/two
  python training/launch.py --workers 4 --restarts 10 -- --arch wrn28_10 --data cifar10 --run runs/four
"""


def parser() -> cli.Parser:
    """The options of this door."""
    p = cli.Parser(prog="launch.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    p.add_argument("--workers", type=cli.positive_int, default=2, metavar="N", help="processes; default 2")
    p.add_argument(
        "--restarts",
        type=cli.non_negative_int,
        default=3,
        metavar="N",
        help="how often all are started again; default 3",
    )
    p.add_argument("fit", nargs="*", metavar="-- ...", help="arguments of fit.py, --run DIR among them")
    return p


class Group:
    """The workers that were started together; signals that come here go to all of them."""

    def __init__(self, count: int, arguments: list[str]):
        addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(count))
        self.workers = [
            # Sessions of their own: Ctrl-C comes to this process alone, and each worker hears of it once.
            subprocess.Popen(
                [sys.executable, FIT, *arguments, "--workers", addresses, "--worker-index", str(index)],
                start_new_session=True,
            )
            for index in range(count)
        ]
        self.told = 0

    def tell(self, number: int, frame=None) -> None:
        """Passes a signal on; the second one ends everything."""
        self.told += 1
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(number if self.told == 1 else signal.SIGKILL)

    def wait(self) -> tuple[int, int]:
        """Until all have ended, as they do when one fails; (index, status) of one that failed, or (0, 0)."""
        failed, until = None, float("inf")
        while any(worker.poll() is None for worker in self.workers):
            if failed is None:
                failed = self._failed()
                until = time.monotonic() + GRACE if failed else until
            if time.monotonic() > until:
                for worker in self.workers:
                    worker.kill()
            time.sleep(0.1)
        return failed or self._failed() or (0, 0)

    def _failed(self) -> tuple[int, int] | None:
        statuses = [(index, worker.poll()) for index, worker in enumerate(self.workers)]
        # A worker that says why goes before one that only lost the others.
        ended = sorted((item for item in statuses if item[1]), key=lambda item: item[1] == 1)
        return ended[0] if ended else None


def main() -> int:
    args = parser().parse_args()
    arguments = args.fit[1:] if args.fit[:1] in (["fit"], ["fit.py"]) else args.fit
    names = [word.partition("=")[0] for word in arguments]
    taken = [name for name in ("--workers", "--worker-index") if name in names]
    if taken:
        raise errors.UsageError(f"{taken[0]} is for this program to give")
    if "--run" not in names and "--dry-run" not in names and "--help" not in names:
        raise errors.UsageError("give --run DIR among the arguments of fit.py: a restart goes on in that folder")
    for attempt in range(args.restarts + 1):
        group = Group(args.workers, arguments)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, group.tell)
        index, status = group.wait()
        if status == 0 or status in FINAL or group.told:
            return abs(status)
        if attempt < args.restarts:
            pause = min(2.0**attempt, LONGEST_PAUSE)
            count = f"{attempt + 1} of {args.restarts}"
            say(f"worker {index} ended with status {status}; all start again in {pause:.0f} s ({count})")
            time.sleep(pause)
    say(f"worker {index} ended with status {status}, and {args.restarts} restarts are used up")
    return 1


def say(text: str) -> None:
    """A line on stderr."""
    print(f"{os.path.basename(sys.argv[0])}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    cli.run_command(main)
