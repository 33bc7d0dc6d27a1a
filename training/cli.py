"""Command-line code that all commands share: the parser, argparse types, exit statuses, one-line errors.

Exit status: 0 done, 1 failed, 2 bad arguments, 130 and 143 interrupted but resumable.
"""

import argparse
import logging
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from training import processes
from training.errors import RunError, UsageError
from training.processes import Terminated


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line; an unknown option gets the nearest known one."""

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str):
        raise UsageError(message)

    def parse_args(self, args=None, namespace=None):
        known, rest = self.parse_known_args(args, namespace)
        if rest:
            from keras_cnns.errors import unknown  # imports Keras, which takes seconds

            tasks = [sub for action in self._actions for sub in getattr(action.choices, "values", list)()]
            parsers = [self, *(sub for sub in tasks if isinstance(sub, Parser))]
            options = [o for p in parsers for action in p._actions for o in action.option_strings if o[:2] == "--"]
            raise UsageError(unknown("option", rest[0].partition("=")[0], options))
        return known


def log_to_stderr() -> None:
    """Prints the package's log on stderr: which weights, under which licence, what was adapted."""
    logger, handler = logging.getLogger("keras_cnns"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def int_from(low: int, high: float, rule: str) -> Callable[[str], int]:
    """argparse type: an integer from `low` to `high`; `rule` says so in the message."""

    def parse(text: str) -> int:
        if not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")
        return int(text)

    return parse


positive_int = int_from(1, math.inf, "a positive integer")
non_negative_int = int_from(0, math.inf, "a non-negative integer")
seed = int_from(0, 2**31 - 1, f"an integer from 0 to {2**31 - 1}")


def number_in(low: float, high: float, rule: str | None = None) -> Callable[[str], float]:
    """argparse type: a number from `low` to `high`; `rule` says so in the message."""
    rule = rule or f"a number from {low:g} to {high:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")
        return value

    return parse


ABOVE_ZERO = math.nextafter(0, 1)
budget = number_in(ABOVE_ZERO, 100, "a number above 0 and at most 100")  # above 1 it makes a run longer
positive_number = number_in(ABOVE_ZERO, 1e12, "a number above 0, such as 3e5")


def interval(text: str) -> tuple[int | None, float | None]:
    """argparse type: "500" steps, "90s" or "10m" -> (steps, None) or (None, seconds)."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in ("s", "m") else (text, "")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e9 or (not unit and value != int(value)):
        raise argparse.ArgumentTypeError(f"must be steps (500), seconds (90s) or minutes (10m), got {text!r}")
    return (None, value * {"s": 1, "m": 60}[unit]) if unit else (int(value), None)


def image_files(given: list[Path]) -> Iterator[Path]:
    """The given files, and of each given folder all files below it with an image's suffix, sorted.

    Raises:
        ValueError: no such file or folder, or a folder without images.
    """
    from training.data.folder import SUFFIXES

    for path in given:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not found:
                raise ValueError(f"no images ({', '.join(sorted(SUFFIXES))}) in {str(path)!r}")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise ValueError(f"no file or folder {str(path)!r}")


def new_file(text: str) -> Path:
    """argparse type: a file to write, in an existing folder."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        wrong = "is a folder" if path.is_dir() else f"no folder {str(path.parent)!r}"
        raise argparse.ArgumentTypeError(f"must be a file to write, got {text!r} ({wrong})")
    return path


def new_png(text: str) -> Path:
    """argparse type: a PNG file to write."""
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"must end in .png, got {text!r}")
    return new_file(text)


def import_keras_quietly() -> None:
    """Imports Keras and its backend, and hides TensorFlow's start-up messages (see TF_CPP_MIN_LOG_LEVEL).

    TensorFlow 2.21 writes lines straight to file descriptor 2 while it loads and looks for GPUs, whatever the
    settings; they would hide a one-line error. They are shown if loading fails.

    Raises:
        UsageError: KERAS_BACKEND is invalid, or not installed.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") in ("0", "1", "2"):
        return
    missing = None
    with processes.silence_stderr():
        try:
            import keras

            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                tf.config.list_physical_devices()
        except (ModuleNotFoundError, ValueError) as error:
            missing = error
    if missing:
        raise UsageError(
            f"Keras cannot load its backend ({missing}); set KERAS_BACKEND to tensorflow, jax or torch"
        ) from missing


def resume_command(folder) -> str:
    """The command line that continues this run."""
    return shlex.join(["python", sys.argv[0], *words_without_run(), "--run", str(folder)])


def words_without_run() -> list[str]:
    """The words of the command line after the program's name, without --run and its folder."""
    words, skip = [], False
    for word in sys.argv[1:]:
        if not skip and word != "--run" and not word.startswith("--run="):
            words.append(word)
        skip = word == "--run" and not skip
    return words


def add_network_options(p: Parser, run_help: str = "run folder; repeatable") -> None:
    """Adds the options that choose trained networks; `classification.trained.load_networks` takes their values."""
    p.add_argument("--run", type=Path, action="append", default=[], metavar="DIR", help=run_help)
    p.add_argument("--arch", metavar="NAME", help="a network of the zoo, with --weights")
    p.add_argument("--weights", metavar="TAG_OR_PATH", help="known weights, or a file")


def add_training_options(how, p, settings: str = "any field of the recipe; repeatable") -> None:
    """Options of every command that trains one network.

    Args:
        how: group of the options that change the recipe.
        p: group of the options that say where it writes and how it computes.
        settings: help of `--set`.
    """
    how.add_argument("--epochs", type=positive_int, metavar="N", help="scales the recipe's schedule to N epochs")
    how.add_argument("--batch-size", type=positive_int, metavar="N", help="images a step, over all replicas")
    how.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help=settings)
    how.add_argument("--seed", type=seed, metavar="N", help="default 0")
    p.add_argument("--run", type=Path, metavar="DIR", help="run folder; default: the next in runs/")
    p.add_argument("--replicas", type=positive_int, metavar="N", help="devices; default: all GPUs, else 1")
    p.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    p.add_argument("--xla", default="auto", choices=("auto", "on", "off"))
    p.add_argument(
        "--save-every", type=interval, default="10m", metavar="T", help="within an epoch: 10m, 90s, 500 (steps)"
    )
    p.add_argument("--deterministic", action="store_true", help="also on GPUs; CPUs always are")
    p.add_argument("--find-lr", action="store_true", help="try rates for some steps, suggest one, train nothing")
    p.add_argument("--dry-run", action="store_true", help="one step of everything, nothing kept")


def run_command(main: Callable[[], int | None]) -> None:
    """Runs a command's `main` and exits with its status."""
    processes.install()
    name = os.path.basename(sys.argv[0])
    try:
        status = main() or 0
    except UsageError as error:
        status = _report(f"{name}: {_line(error)}", 2)
    except RunError as error:
        status = _report(f"{name}: {_line(error)}", 1)
    except KeyboardInterrupt as error:
        status = _report(f"{name}: interrupted{_more(error)}", 130)
    except Terminated as error:
        status = _report(f"{name}: terminated{_more(error)}", 143)
    except BrokenPipeError:  # a reader such as `head` has stopped reading
        status = 0
    except OSError as error:  # the disk is full, a folder is gone
        where = f"{error.filename}: " if error.filename else ""
        status = _report(f"{name}: {where}{_line(error.strerror or error)}", 1)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python prints an error at exit
    sys.exit(status)


def _line(error: BaseException | str) -> str:
    return " ".join(str(error).split())


def _more(error: BaseException) -> str:
    return f"; {_line(error)}" if str(error) else ""


def _report(text: str, status: int) -> int:
    print(text, file=sys.stderr)
    return status
