"""Starts several workers of one run on this machine: python training/launch.py --workers N -- ARGUMENTS OF fit.py

If one ends with an error, the others end, too, and all are started again from the last checkpoint.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

from training import cli, errors
from training.processes import SIGNALS, free_ports, report

FIT = Path(__file__).with_name("fit.py")
GRACE = 30.0  # seconds in which workers may end by themselves
LONGEST_PAUSE = 60.0
FINAL = (2, 130, 143)  # bad arguments, or stopped by the user: a restart does not help

EXAMPLES = """examples:
  python training/launch.py --workers 2 -- --arch resnet20 --run runs/two
  python training/launch.py --workers 4 --restarts 10 -- --arch wrn28_10 --data cifar10 --run runs/four
"""


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.Parser(prog="launch.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    p.add_argument("--workers", type=cli.positive_int, default=2, metavar="N", help="processes; default 2")
    p.add_argument("--restarts", type=cli.non_negative_int, default=3, metavar="N", help="restarts; default 3")
    p.add_argument("fit", nargs="*", metavar="-- ...", help="arguments of fit.py, --run DIR among them")
    return p


class Workers:
    """The worker processes of one attempt; `send_signal` passes signals of this process to all of them."""

    def __init__(self, count: int, arguments: list[str]):
        addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(count))
        self.processes = [
            # Each in its own session, so that Ctrl-C reaches this process only, which passes it on once.
            subprocess.Popen(
                [sys.executable, FIT, *arguments, "--workers", addresses, "--worker-index", str(index)],
                start_new_session=True,
            )
            for index in range(count)
        ]
        self.signals = 0

    def send_signal(self, number: int, frame=None) -> None:
        """A signal handler: passes the first signal on; the second kills all workers."""
        self.signals += 1
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number if self.signals == 1 else signal.SIGKILL)

    def wait(self) -> tuple[int, int]:
        """Waits until all have ended, at most `GRACE` after a failure; (index, status) of a failure, or (0, 0)."""
        failed, until = None, float("inf")
        while any(process.poll() is None for process in self.processes):
            if failed is None:
                failed = self._failed()
                until = time.monotonic() + GRACE if failed else until
            if time.monotonic() > until:
                for process in self.processes:
                    process.kill()
            time.sleep(0.1)
        return failed or self._failed() or (0, 0)

    def _failed(self) -> tuple[int, int] | None:
        statuses = [(index, process.poll()) for index, process in enumerate(self.processes)]
        # Status 1 may only mean that another worker has ended, so all other errors are preferred.
        ended = sorted((item for item in statuses if item[1]), key=lambda item: item[1] == 1)
        return ended[0] if ended else None


def main() -> int:
    args = parser().parse_args()
    arguments = args.fit[1:] if args.fit[:1] in (["fit"], ["fit.py"]) else args.fit
    names = [word.partition("=")[0] for word in arguments]
    for name in ("--workers", "--worker-index"):
        if name in names:
            raise errors.UsageError(f"arguments of fit.py must be without {name}, which launch.py adds")
    if not {"--run", "--dry-run", "--help"}.intersection(names):
        raise errors.UsageError("give --run DIR among the arguments of fit.py: a restart continues in that folder")
    for attempt in range(args.restarts + 1):
        workers = Workers(args.workers, arguments)
        for number in SIGNALS:
            signal.signal(number, workers.send_signal)
        index, status = workers.wait()
        if status == 0 or status in FINAL or workers.signals:
            return abs(status)
        if attempt < args.restarts:
            pause = min(2.0**attempt, LONGEST_PAUSE)
            count = f"{attempt + 1} of {args.restarts}"
            report(f"worker {index} ended with status {status}; all start again in {pause:.0f} s ({count})")
            time.sleep(pause)
    report(f"worker {index} ended with status {status} after {args.restarts} restarts")
    return 1


if __name__ == "__main__":
    cli.run_command(main)
