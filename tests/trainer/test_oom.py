"""Out of memory: a layer that has room for few images stands in for a small GPU."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.engine.step import SoftCrossEntropy, StepModel
from training.errors import RunError
from training.trainer import oom


class Small(keras.layers.Layer):
    """Takes up to `room` images. TensorFlow reports a MemoryError in Python as its own kind."""

    def __init__(self, room: int):
        super().__init__()
        self.room = room

    def call(self, images):
        @tf.custom_gradient
        def same(x):
            y = tf.py_function(self.look, [x], tf.float32)
            y.set_shape(x.shape)
            return y, lambda g: g

        return same(images)

    def look(self, images):
        if len(images) > self.room:
            raise MemoryError("OOM when allocating tensor")
        return images


def step_model(room: int) -> StepModel:
    x = keras.Input((4, 4, 1))
    made = StepModel(x, keras.layers.Dense(2)(keras.layers.Flatten()(Small(room)(x))))
    made.compile("sgd", SoftCrossEntropy())
    return made


def task(batch: int, replicas: int = 1):
    """As far as the search for a batch size reads a task."""
    recipe = SimpleNamespace(batch_size=batch)
    return SimpleNamespace(
        config=SimpleNamespace(recipe=recipe),
        compute=SimpleNamespace(replicas=replicas),
        example=lambda images: (np.zeros((images, 4, 4, 1), np.float32), np.zeros(images, np.int32)),
    )


@pytest.mark.parametrize(("room", "batch", "replicas", "fits"), [(5, 16, 1, 4), (5, 16, 2, 8), (100, 16, 1, 8)])
def test_names_a_batch_size_that_was_tried(room, batch, replicas, fits):
    assert oom.largest_fitting_batch(task(batch, replicas), step_model(room)) == fits


def test_fit_stops_with_advice():
    small = step_model(5)
    with (
        pytest.raises(RunError, match="out of memory with batches of 16 on 1 devices; --batch-size 4 fits"),
        oom.suggest_batch_size(task(16), small),
    ):
        small.fit(tf.zeros((16, 4, 4, 1)), tf.zeros(16, tf.int32), batch_size=16, verbose=0)


def test_nothing_fits():
    with (
        pytest.raises(RunError, match="no batch size fits: smaller images"),
        oom.suggest_batch_size(task(16), step_model(0)),
    ):
        raise MemoryError
