"""The two input pipelines, tf.data and NumPy, as values with the same functions."""

from collections.abc import Callable
from dataclasses import dataclass

from training.data import mix, numpy_pipeline, pipeline


@dataclass(frozen=True)
class Reader:
    """The functions of an input pipeline; `pipeline` and `mix` describe them."""

    train_batches: Callable
    eval_batches: Callable
    soft_labels: Callable
    batch_indices: Callable
    resize_and_crop: Callable
    with_channels: Callable


TF_DATA = Reader(
    train_batches=pipeline.train_batches,
    eval_batches=pipeline.eval_batches,
    soft_labels=mix.soft_labels,
    batch_indices=pipeline.batch_indices,
    resize_and_crop=pipeline.resize_and_crop,
    with_channels=pipeline.with_channels,
)
NUMPY = Reader(
    train_batches=numpy_pipeline.train_batches,
    eval_batches=numpy_pipeline.eval_batches,
    soft_labels=numpy_pipeline.soft_labels,
    batch_indices=numpy_pipeline.batch_indices,
    resize_and_crop=numpy_pipeline.resize_and_crop,
    with_channels=numpy_pipeline.with_channels,
)
