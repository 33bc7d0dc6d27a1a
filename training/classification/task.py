"""What a run is made of, handed around together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from training.classification.config import Config
from training.data import pipeline
from training.data.augment import drop_unsafe_flips
from training.data.dataset import DataSet, Split
from training.data.unreadable import UnreadableImages
from training.engine.backends import backend
from training.engine.devices import Compute
from training.recipes.recipe import Recipe
from training.report.folder import Log
from training.trainer.checkpoint_saver import SaveInterval

EVALUATION_BATCH = 256
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Run:
    """What a run is made of, handed around together.

    `every` says how often it saves within an epoch, `settings` what a search chose, for TensorBoard's HParams.
    """

    config: Config
    data: DataSet
    compute: Compute
    folder: Path
    log: Log
    every: SaveInterval = SaveInterval()
    settings: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _readers(self) -> list[UnreadableImages]:
        return [UnreadableImages(getattr(self.data, name), self.log) for name in SPLITS]

    def _broken(self, split: Split) -> UnreadableImages | None:
        """What counts a split's broken files for the whole run."""
        return next((reader for reader in self._readers if reader.split is split), None)

    @property
    def evaluation_batch(self) -> int:
        """Images of a batch of `evaluation`, over all workers."""
        return min(EVALUATION_BATCH, max(self.config.recipe.batch_size, 2 * self.compute.replicas))

    def evaluation(self, split: Split):
        """Batches of a split as it is measured, in order, without augmentation: this worker's share, 0 to 255."""
        c = self.config
        return backend.reader(split).eval_batches(
            split,
            size=c.image_size,
            channels=c.channels,
            batch_size=self.evaluation_batch,
            preprocess=pipeline.untouched,
            crop=c.recipe.test_crop,
            broken=self._broken(split),
            shard=self.compute.shard,
        )

    @property
    def reader(self):
        """What makes the training stream: `pipeline` or `arrays`."""
        return reader(self.data, self.config.recipe)

    def training(self, first_epoch: int = 0, first_step: int = 0):
        """The stream of training batches, 0 to 255, this worker's share, from an epoch and a step of it on."""
        c, stream, reader = self.config, None, self.reader
        steps = pipeline.steps_per_epoch(len(self.data.train), c.recipe.batch_size)
        for first, end, size in self._phases(first_epoch):
            batches = reader.train_batches(
                self.data.train,
                size=size,
                channels=c.channels,
                batch_size=c.recipe.batch_size,
                seed=c.seed,
                epochs=end,
                first_epoch=first,
                first_step=first_step if first == first_epoch else 0,
                augment=drop_unsafe_flips(c.recipe.augment, self.data)[0],
                preprocess=pipeline.untouched,
                repeats=c.recipe.repeats,
                broken=self._broken(self.data.train),
                shard=self.compute.shard,
            )
            number = first * steps + (first_step if first == first_epoch else 0)
            batches = reader.soft_labels(batches, len(c.classes), c.recipe.smoothing, c.recipe.mix, c.seed, number)
            stream = batches if stream is None else stream.concatenate(batches)
        return stream

    @cached_property
    def first_batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Images, 0 to 255, and labels of the run's first training step: this worker's share."""
        return tuple(map(np.asarray, next(iter(self.training()))))

    def _phases(self, first_epoch: int) -> list[tuple[int, int, int]]:
        """(first epoch, end, pixels a side) of the stretches with one size."""
        c = self.config
        epochs, growing = c.recipe.epochs, c.recipe.growing
        if growing is None:
            return [(first_epoch, epochs, c.image_size)]
        sides = [growing.side(epoch, epochs, c.image_size) for epoch in range(epochs)]
        starts = [e for e in range(first_epoch, epochs) if e == first_epoch or sides[e] != sides[e - 1]]
        return [(start, end, sides[start]) for start, end in zip(starts, [*starts[1:], epochs], strict=True)]


def reader(data: DataSet, recipe: Recipe):
    """What makes a recipe's training stream of a data set: `pipeline` or `arrays`.

    Raises:
        ValueError: the engine needs TensorFlow for it, which is not installed.
    """
    augment = drop_unsafe_flips(recipe.augment, data)[0]
    return backend.reader(data.train, augment, recipe.mix, recipe.repeats, recipe.growing)
