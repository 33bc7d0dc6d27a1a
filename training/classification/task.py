"""`ClassificationTask`: trains an image classifier."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np

from keras_cnns import measure
from keras_cnns.deep import deep_recursion
from keras_cnns.weights.loading import given
from training.classification import evaluation
from training.classification.config import Config, starting_weights
from training.data import pipeline
from training.data.augment import drop_unsafe_flips
from training.data.dataset import DataSet
from training.data.unreadable import UnreadableImages
from training.engine.backends import backend
from training.engine.step import SoftCrossEntropy
from training.recipes.recipe import Recipe
from training.report import pictures
from training.report.folder import COLUMNS
from training.report.stream import log_messages_to
from training.trainer.task import Task

EVALUATION_BATCH = 256
SPLITS = ("train", "val", "test")
SHOWN = 32  # images in batch.png


@dataclass(frozen=True)
class ClassificationTask(Task):
    """One run of a classifier; `config` is a `Config`, `data` a `DataSet`."""

    config: Config
    data: DataSet

    columns = COLUMNS
    progress = ("loss", "top1")
    monitor = "val_top1"
    compared = ("loss", "top1")
    splits = SPLITS

    def build(self):
        recipe, config = self.config.recipe, self.config
        plain, logits = config.build_for_training()
        if start := starting_weights(config, self.folder):
            with log_messages_to(self.log):
                given(start, config.architecture.name).load(plain)
        outputs, loss_weights = zip(*logits, strict=True)
        model = backend.build_model(plain.inputs, list(outputs), recipe, loss_weights, config.preprocessing)
        return model, plain

    def loss(self):
        head = self.config.architecture.head
        return SoftCrossEntropy() if self.config.recipe.soft else head.loss()

    def describe(self, saved):
        sizes = measure(saved, self.config.input_shape)
        size = self.config.image_size
        return f"{sizes.trainable_params:,} parameters, {sizes.macs:,} MACs at {size} pixels"

    def final(self, saved):
        """The network at the size it is tested at, and without a strategy of several workers.

        Reading a batch-norm statistic of several workers takes all of them, every time.
        """
        if self.compute.group.alone and not self.config.recipe.progressive_resizing:
            return saved
        with deep_recursion():
            copy = self.config.build()
        copy.set_weights([keras.ops.convert_to_numpy(v) for v in saved.weights])
        return copy

    # --- batches

    @property
    def steps(self):
        return pipeline.steps_per_epoch(len(self.data.train), self.config.recipe.batch_size)

    @cached_property
    def _unreadable(self) -> dict[str, UnreadableImages]:
        """Counts the unreadable files of each split for the whole run."""
        return {name: UnreadableImages(getattr(self.data, name), self.log) for name in SPLITS}

    def train_batches(self, epoch: int = 0, step: int = 0):
        """Images 0 to 255 and labels, this worker's part of each batch."""
        config, recipe, stream = self.config, self.config.recipe, None
        source = reader(self.data, recipe)
        for first, end, size in self._phases(epoch):
            first_step = step if first == epoch else 0
            batches = source.train_batches(
                self.data.train,
                size=size,
                channels=config.channels,
                batch_size=recipe.batch_size,
                seed=config.seed,
                epochs=end,
                first_epoch=first,
                first_step=first_step,
                augment=drop_unsafe_flips(recipe.augment, self.data)[0],
                preprocess=pipeline.untouched,
                repeats=recipe.repeated_augmentation,
                broken=self._unreadable["train"],
                shard=self.compute.shard,
            )
            number = first * self.steps + first_step
            labels = (len(config.classes), recipe.smoothing, recipe.mix, config.seed, number)
            batches = source.soft_labels(batches, *labels)
            stream = batches if stream is None else stream.concatenate(batches)
        return stream

    def _phases(self, first_epoch: int) -> list[tuple[int, int, int]]:
        """(first epoch, end, pixels a side) of the phases in which images have one size."""
        epochs, size = self.config.recipe.epochs, self.config.image_size
        resizing = self.config.recipe.progressive_resizing
        if resizing is None:
            return [(first_epoch, epochs, size)]
        sides = [resizing.side(epoch, epochs, size) for epoch in range(epochs)]
        starts = [e for e in range(first_epoch, epochs) if e == first_epoch or sides[e] != sides[e - 1]]
        return [(start, end, sides[start]) for start, end in zip(starts, [*starts[1:], epochs], strict=True)]

    def image_names(self, epoch, step):
        config, recipe, train = self.config, self.config.recipe, self.data.train
        indices = reader(self.data, recipe).batch_indices(
            len(train), recipe.batch_size, config.seed, epoch, step, recipe.repeated_augmentation
        )
        return ", ".join(train.images.name(i) for i in indices)

    @property
    def evaluation_batch(self) -> int:
        """Images of a batch of `eval_batches`, over all workers."""
        return min(EVALUATION_BATCH, max(self.config.recipe.batch_size, 2 * self.compute.replicas))

    def eval_batches(self, name: str):
        """Batches of a split in order, without augmentation, 0 to 255; this worker's part of them."""
        config, split = self.config, getattr(self.data, name)
        return backend.reader(split).eval_batches(
            split,
            size=config.image_size,
            channels=config.channels,
            batch_size=self.evaluation_batch,
            preprocess=pipeline.untouched,
            crop=config.recipe.test_crop,
            broken=self._unreadable[name],
            shard=self.compute.shard,
        )

    def validation(self):
        return backend.validation_data(self.compute, self.eval_batches("val"), self.evaluation_batch)

    def example(self, images):
        """As there, but of full size where training starts with smaller images."""
        pixels, labels = super().example(images)
        if self.config.recipe.progressive_resizing:
            pixels = np.zeros((images, *self.config.input_shape), pixels.dtype)
        return pixels, labels

    # --- figures and pictures

    def forward(self, model):
        return backend.forward(evaluation.logits_model(model))

    def sample(self):
        return self.config.preprocessing(np.asarray(next(iter(self.eval_batches("val")))[0]))

    def predict(self, forward, split):
        """(logits, labels) of a split."""
        config = self.config
        return evaluation.split_logits(
            forward,
            getattr(self.data, split),
            size=config.image_size,
            channels=config.channels,
            preprocess=config.preprocessing,
            crop=config.recipe.test_crop,
            views=config.recipe.test_views,
        )

    def figures(self, predictions, split):
        return evaluation.measure(*predictions, self.config.architecture.head.loss())

    def facts(self, saved, history):
        config, sizes = self.config, measure(saved)
        names = {"arch": config.architecture.name, "data": config.data, "recipe": config.recipe.name}
        return names | {"params": sizes.trainable_params, "macs": sizes.macs}

    @property
    def _title(self) -> str:
        return f"{self.config.architecture.name} on {self.data.name}"

    def first_picture(self):
        images, labels = (column[:SHOWN] for column in self.first_batch)
        fed, title = self.config.preprocessing(images), f"{self._title}: the first training batch"
        return pictures.image_grid(fed, labels, self.config.classes, title)

    def pictures(self, saved, history, predictions):
        matrix, title = evaluation.confusion_of(*predictions), f"{self._title}: test split"
        drawn = {"curves": pictures.curves(history, self._title)} if history else {}
        return drawn | {"confusion_matrix": pictures.confusion_matrix(matrix, self.config.classes, title)}

    def board_pictures(self, saved):
        first = next((w for w in saved.trainable_weights if len(w.shape) == 4), None)
        if first is None:
            return {}
        kernel = keras.ops.convert_to_numpy(first)
        return {"first-layer filters": pictures.filters(kernel, f"{self._title}: first layer")}

    @classmethod
    def summary(cls, result: dict, folder: Path) -> str:
        test, val = result["test"], result["val"]
        return (
            f"done: test top-1 {test['top1']:.4f} (n={test['n']}), top-5 {test['top5']:.4f}, "
            f"loss {test['loss']:.4f}, val top-1 {val['top1']:.4f}, {result['images_per_second']:.0f} images/s, "
            f"{result['data_wait']:.1%} of the time waiting for images, run {folder}"
        )


def reader(data: DataSet, recipe: Recipe):
    """The pipeline that makes a recipe's training batches of a data set.

    Raises:
        ValueError: the backend needs TensorFlow for it, which is not installed.
    """
    augment = drop_unsafe_flips(recipe.augment, data)[0]
    repeats, resizing = recipe.repeated_augmentation, recipe.progressive_resizing
    return backend.reader(data.train, augment, recipe.mix, repeats, resizing)
