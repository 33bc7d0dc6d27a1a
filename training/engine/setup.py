"""What a run is made of, handed around together."""

from dataclasses import dataclass
from pathlib import Path

from training.data import pipeline
from training.data.augment import suit
from training.data.dataset import DataSet, Split
from training.data.mix import softened
from training.engine.compute import Compute
from training.engine.config import Config
from training.engine.saving import Every
from training.report.folder import Log

EVALUATION_BATCH = 256
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Run:
    """What a run is made of, handed around together; `every` says how often it saves within an epoch."""

    config: Config
    data: DataSet
    compute: Compute
    folder: Path
    log: Log
    every: Every = Every()

    @property
    def evaluation_batch(self) -> int:
        """Images of a batch of `evaluation`, over all workers."""
        return min(EVALUATION_BATCH, max(self.config.recipe.batch_size, 2 * self.compute.replicas))

    def evaluation(self, split: Split):
        """Batches of a split as it is measured, in order, without augmentation: this worker's share."""
        c = self.config
        return pipeline.eval_batches(
            split,
            size=c.image_size,
            channels=c.channels,
            batch_size=self.evaluation_batch,
            preprocess=c.preprocessing,
            crop=c.recipe.test_crop,
            share=self.compute.share,
        )

    def training(self, first_epoch: int = 0, first_step: int = 0):
        """The stream of training batches, this worker's share, from an epoch, and in it from a step, on."""
        c = self.config
        batches = pipeline.train_batches(
            self.data.train,
            size=c.image_size,
            channels=c.channels,
            batch_size=c.recipe.batch_size,
            seed=c.seed,
            epochs=c.recipe.epochs,
            first_epoch=first_epoch,
            first_step=first_step,
            augment=suit(c.recipe.augment, self.data)[0],
            preprocess=c.preprocessing,
            share=self.compute.share,
        )
        number = first_epoch * pipeline.steps_per_epoch(len(self.data.train), c.recipe.batch_size) + first_step
        return softened(batches, len(c.classes), c.recipe.smoothing, c.recipe.mix, c.seed, number)
