"""Writes to a terminal or a pipe that may be closed at any time."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def write(stream, text: str) -> bool:
    """Writes text and flushes; returns False when the stream is closed, and never raises.

    A reader that ends (`fit.py | head`) must not end the training. Characters that the stream cannot encode become
    question marks.
    """
    if stream is None:
        return False
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            coding = stream.encoding or "ascii"
            stream.write(text.encode(coding, "replace").decode(coding))
        stream.flush()
    except (OSError, ValueError):  # ValueError: the stream was closed
        _silence(stream)
        return False
    return True


@contextmanager
def log_messages_to(say: Callable[[str], object]) -> Iterator[None]:
    """Inside, messages of the logger "keras_cnns" go to `say` and nowhere else."""
    handler = logging.Handler()
    handler.emit = lambda record: say(record.getMessage())
    logger = logging.getLogger("keras_cnns")
    level, propagate, handlers = logger.level, logger.propagate, logger.handlers
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.handlers = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def _silence(stream):
    """Redirects a broken stream to nowhere; else the interpreter flushes it at exit and ends with status 120."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):  # not a real file
        pass
