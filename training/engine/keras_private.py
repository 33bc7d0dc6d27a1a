"""What training on many devices needs of Keras' private parts. The one place; tested on keras 3.15.1.

- `Trainer._maybe_symbolic_build` reduces the first batch to its mean over replicas, which fails where shares
  differ in length and on several workers (keras issue 20585). A functional model has nothing left to build.
- `TFOptimizer._all_reduce_sum_gradients` sums the gradients of all replicas just before the update, when it is
  too late to clip them or to look whether all are finite. `StepModel` sums them itself, earlier.

`tests/engine/test_keras_private.py` fails when either moves.
"""

import keras

SUM = "_all_reduce_sum_gradients"


class Built:
    """Comes before `keras.Model` among the bases of a functional model that is built when it is made."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        pass


def leave_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes an optimizer take gradients as they come, already summed over all replicas.

    Raises:
        RuntimeError: this version of Keras sums them elsewhere, which would multiply them by the replicas.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    if not callable(getattr(optimizer, SUM, None)):
        raise RuntimeError(f"keras {keras.__version__} has no Optimizer.{SUM}: several replicas need keras 3.15")
    setattr(optimizer, SUM, list)
