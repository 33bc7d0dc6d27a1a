"""The state of training as arrays: weights, optimizer, random states, sums of metrics.

Keras' own files lack the random states of dropout and the metrics, and hold one value of a variable that is local
to each replica (batch-norm statistics, sums of metrics). Here the values of all replicas are kept.
"""

import re

import keras
import numpy as np

from training.engine.backends import backend

METRIC = "metric"
COUNTED = {
    "model": re.compile(r"(?<=^seed_generator)_\d+(?=/)"),
    "optimizer": re.compile(r"^[^/]+/"),
    METRIC: re.compile(r"$^"),
}


def gather(model: keras.Model) -> dict[str, np.ndarray]:
    """Name -> array of a compiled and built model; of variables local to replicas, of shape (replicas, *shape)."""
    return {name: _read(model, variable) for name, variable in _named(model).items()}


def metrics(model: keras.Model) -> dict[str, np.ndarray]:
    """The metrics' part of `gather`."""
    return {name: _read(model, v) for name, v in _named(model).items() if name.startswith(METRIC)}


def check(model: keras.Model, arrays: dict[str, tuple]) -> None:
    """Raises ValueError unless the arrays, given as name -> (shape, dtype), are exactly those of the model."""
    wanted = _named(model)
    if odd := sorted(set(wanted) ^ set(arrays)):
        fault = "is missing" if odd[0] in wanted else "is not the model's"
        raise ValueError(f"the tensors must be the model's {len(wanted)}: {odd[0]} {fault}")
    for name, variable in wanted.items():
        shape, kind = arrays[name]
        local = backend.is_local(variable) and len(shape) == len(variable.shape) + 1
        if tuple(shape[1:] if local else shape) != tuple(variable.shape) or str(kind) != variable.dtype:
            raise ValueError(f"{name} must be {variable.dtype} {tuple(variable.shape)}, got {kind} {shape}")


def scatter(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Restores arrays of `gather`, also of another number of replicas."""
    wanted = _named(model)
    for name, array in arrays.items():
        variable = wanted[name]
        if not backend.is_local(variable):
            variable.assign(array)
            continue
        local = _replicas(model, variable)
        if array.ndim == len(variable.shape):
            array = array[None]
        processes = model.distribute_strategy.num_replicas_in_sync // len(local)
        if variable.aggregation == "sum" and processes > 1:  # each process takes its part of the common sum
            array = (array / processes).astype(array.dtype)
        if len(array) != len(local):
            array = _redistribute(array, len(local), variable.aggregation)
        for replica, value in zip(local, array, strict=True):
            replica.assign(value)


def size(model: keras.Model) -> int:
    """Size of `gather`'s arrays in bytes, on one replica."""
    return sum(int(np.prod(v.shape)) * np.dtype(v.dtype).itemsize for v in _named(model).values())


def _named(model) -> dict[str, keras.Variable]:
    """All variables by kind, number and path, without the counters that Keras adds to names."""
    kinds = {"model": model.variables, "optimizer": model.optimizer.variables, METRIC: model.metrics_variables}
    return {
        f"{kind}/{i:05d}/{COUNTED[kind].sub('', variable.path)}": variable
        for kind, variables in kinds.items()
        for i, variable in enumerate(variables)
    }


def _replicas(model, variable) -> list:
    """The variable's values on the replicas of this process."""
    return list(model.distribute_strategy.experimental_local_results(variable.value))


def _read(model, variable) -> np.ndarray:
    if backend.is_local(variable):
        local = _replicas(model, variable)
        # With several processes only the common value can be known here.
        if 1 < len(local) == model.distribute_strategy.num_replicas_in_sync:
            return np.stack([np.asarray(value) for value in local])
    return keras.ops.convert_to_numpy(variable)


def _redistribute(values: np.ndarray, replicas: int, how: str) -> np.ndarray:
    """Values of some replicas for another number of replicas, with the same sum or mean."""
    if how == "sum":
        zeros = np.zeros((replicas - 1, *values.shape[1:]), values.dtype)
        return np.concatenate([values.sum(0, keepdims=True), zeros])
    return np.repeat(values.mean(0, keepdims=True, dtype=values.dtype), replicas, axis=0)
