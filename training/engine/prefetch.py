"""How batches reach Keras' own `fit` on engines other than TensorFlow."""

import queue
import threading
import time
from collections.abc import Iterator

import keras
import numpy as np

BUFFER = 4  # batches that are ready before they are asked for


def prefetch(batches, model) -> Iterator[tuple]:
    """The batches as NumPy arrays, made by a thread; `model.data_wait_seconds` counts the seconds without one."""
    ready, over = queue.Queue(BUFFER), threading.Event()

    def work():
        try:
            for batch in batches:
                if not put(tuple(map(np.asarray, batch))):
                    return
            put(None)
        except BaseException as error:  # raised again where the batch is wanted
            put(error)

    def put(item) -> bool:
        while not over.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            began = time.perf_counter()
            item = ready.get()
            model.data_wait_seconds += time.perf_counter() - began
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        over.set()
        thread.join()


class PaddedBatches(keras.utils.PyDataset):
    """Batches to measure on, every one of `size` images: a short last one is filled up, with weights of zero.

    So there is one shape to compile, and devices have equal shares. Read in order, again and again.
    """

    def __init__(self, batches, size: int):
        super().__init__()
        self.batches, self.size = batches, size

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, i: int):
        if i == 0:
            self.stream = iter(self.batches)
        images, labels = map(np.asarray, next(self.stream))
        counted = np.arange(self.size) < len(labels)
        rows = np.minimum(np.arange(self.size), len(labels) - 1)
        return images[rows], labels[rows], counted.astype(np.float32)
