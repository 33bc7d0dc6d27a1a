"""What the doors share: one-line refusals, exit statuses, signals, a stdout that may close.

Exit status: 0 done, 1 failed, 2 bad arguments, 130 and 143 interrupted but resumable.
"""

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from training import processes
from training.errors import RunError, UsageError
from training.processes import Terminated


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, with the nearest option for an unknown one."""

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str):
        raise UsageError(message)

    def parse_args(self, args=None, namespace=None):
        known, rest = self.parse_known_args(args, namespace)
        if rest:
            from keras_cnns.errors import unknown  # brings Keras along, which takes seconds

            tasks = [sub for action in self._actions for sub in getattr(action.choices, "values", list)()]
            parsers = [self, *(sub for sub in tasks if isinstance(sub, Parser))]
            options = [o for p in parsers for action in p._actions for o in action.option_strings if o[:2] == "--"]
            raise UsageError(unknown("option", rest[0].partition("=")[0], options))
        return known


def log_to_stderr() -> None:
    """Shows on stderr what the package logs: which weights, under which licence, what was adapted."""
    logger, handler = logging.getLogger("keras_cnns"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def unavailable(option: str, given: bool) -> None:
    """Refuses an option that a later version will have."""
    if given:
        raise UsageError(f"{option} is not available in this version")


def positive_int(text: str) -> int:
    """argparse type: a whole number from 1 on."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on; {text!r} came")
    return int(text)


def non_negative_int(text: str) -> int:
    """argparse type: a whole number from 0 on."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on; {text!r} came")
    return int(text)


def seed(text: str) -> int:
    """argparse type: a whole number from 0 to 2^31 - 1."""
    if not text.isdigit() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {2**31 - 1}; {text!r} came")
    return int(text)


def fraction(text: str) -> float:
    """argparse type: a number above 0 and at most 100 (a budget may also lengthen)."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and at most 100; {text!r} came")
    return value


def positive_number(text: str) -> float:
    """argparse type: a number above 0, as 300000 or 3e5."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e12:
        raise argparse.ArgumentTypeError(f"must be a number above 0, as 3e5; {text!r} came")
    return value


def interval(text: str) -> tuple[int | None, float | None]:
    """argparse type: "500" steps, "90s" or "10m" -> (steps, None) or (None, seconds)."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in ("s", "m") else (text, "")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e9 or (not unit and value != int(value)):
        raise argparse.ArgumentTypeError(f"must be steps (500), seconds (90s) or minutes (10m); {text!r} came")
    return (None, value * {"s": 1, "m": 60}[unit]) if unit else (int(value), None)


def image_files(given: list[Path]) -> Iterator[Path]:
    """Files as given, and those with an image's suffix below folders, sorted.

    Raises:
        ValueError: nothing is there, or a folder holds no images.
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
    """argparse type: a file to write, in a folder that is there."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        wrong = "is a folder" if path.is_dir() else f"no folder {str(path.parent)!r}"
        raise argparse.ArgumentTypeError(f"must be a file to write; {text!r} came ({wrong})")
    return path


def new_png(text: str) -> Path:
    """argparse type: a picture to write."""
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"must end in .png; {text!r} came")
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
    words, skip = [], False
    for word in sys.argv[1:]:
        if not skip and word != "--run" and not word.startswith("--run="):
            words.append(word)
        skip = word == "--run" and not skip
    return shlex.join(["python", sys.argv[0], *words, "--run", str(folder)])


def add_network_options(p: Parser) -> None:
    """The options by which a door is told of trained networks; `loading.choose` takes them."""
    p.add_argument("--run", type=Path, action="append", default=[], metavar="DIR", help="run folder; repeatable")
    p.add_argument("--arch", metavar="NAME", help="a network of the zoo, with --weights")
    p.add_argument("--weights", metavar="TAG_OR_PATH", help="known weights, or a file")


def add_training_options(p) -> None:
    """Options of every command that trains one network: where it writes and how it computes."""
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
    """Runs a door and exits with its status."""
    processes.install()
    name = os.path.basename(sys.argv[0])
    try:
        status = main() or 0
    except UsageError as error:
        status = _say(f"{name}: {_line(error)}", 2)
    except RunError as error:
        status = _say(f"{name}: {_line(error)}", 1)
    except KeyboardInterrupt as error:
        status = _say(f"{name}: interrupted{_more(error)}", 130)
    except Terminated as error:
        status = _say(f"{name}: terminated{_more(error)}", 143)
    except BrokenPipeError:  # a reader such as `head` has seen enough
        status = 0
    except OSError as error:  # the disk is full, a folder is gone
        where = f"{error.filename}: " if error.filename else ""
        status = _say(f"{name}: {where}{_line(error.strerror or error)}", 1)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at exit
    sys.exit(status)


def _line(error: BaseException | str) -> str:
    return " ".join(str(error).split())


def _more(error: BaseException) -> str:
    return f"; {_line(error)}" if str(error) else ""


def _say(text: str, status: int) -> int:
    print(text, file=sys.stderr)
    return status
