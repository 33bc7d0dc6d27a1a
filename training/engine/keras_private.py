"""All uses of private methods of Keras: two, for training on several devices. Tested on keras 3.15.1.

- `Trainer._maybe_symbolic_build` reduces the first batch to its mean over replicas, which fails where shards
  differ in length and on several workers (keras issue 20585). A functional model is built already.
- `TFOptimizer._all_reduce_sum_gradients` sums the gradients of all replicas just before the update, too late for
  clipping and for the test that all are finite. `StepModel` sums them itself, earlier.

`tests/engine/test_keras_private.py` fails when Keras moves either.
"""

import keras

SUM = "_all_reduce_sum_gradients"


class Built:
    """A base, before `keras.Model`, of functional models: they are built when they are created."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        pass


def leave_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes an optimizer use gradients as given, already summed over all replicas.

    Raises:
        RuntimeError: this version of Keras sums them elsewhere, so they would be summed twice.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    if not callable(getattr(optimizer, SUM, None)):
        raise RuntimeError(
            f"training needs a keras with Optimizer.{SUM}, got keras {keras.__version__}; 3.15 has it"
        )
    setattr(optimizer, SUM, list)
