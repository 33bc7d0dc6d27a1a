"""The private parts of Keras that `engine/keras_private.py` uses are where it expects them."""

import inspect

import keras
import pytest

from training.engine import keras_private
from training.engine.step import StepModel


def test_keras_still_builds_by_the_method_that_is_passed_over():
    stock = keras.Model._maybe_symbolic_build
    assert list(inspect.signature(stock).parameters) == ["self", "iterator", "data_batch"]
    assert StepModel._maybe_symbolic_build is keras_private.Built._maybe_symbolic_build
    assert "_maybe_symbolic_build" in inspect.getsource(keras.Model.fit)


@pytest.mark.parametrize("wrapped", [False, True])
def test_keras_still_sums_gradients_by_the_method_that_is_replaced(wrapped):
    inner = keras.optimizers.SGD()
    assert "_all_reduce_sum_gradients" in inspect.getsource(type(inner)._backend_update_step)
    optimizer = keras.optimizers.LossScaleOptimizer(inner) if wrapped else inner
    keras_private.leave_gradients(optimizer)
    pairs = [(1.0, "a"), (None, "b")]
    assert inner._all_reduce_sum_gradients(pairs) == pairs


def test_a_keras_without_it_is_refused():
    with pytest.raises(RuntimeError, match="training needs a keras with Optimizer"):
        keras_private.leave_gradients(object())
