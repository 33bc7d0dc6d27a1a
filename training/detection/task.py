"""`DetectionTask`: trains Faster R-CNN."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_cnns.detection import LOSSES
from keras_cnns.detection.weights import load
from training.detection import metrics, pipeline, plots, trained
from training.detection.config import DetectionConfig
from training.detection.dataset import DetectionData
from training.detection.metrics import Detections
from training.engine.step import StepModel, sync_batch_norm
from training.errors import usage_errors
from training.report.stream import log_messages_to
from training.trainer.task import Task

SHOWN = 8  # images in a picture


class DetectionStep(StepModel):
    """A detector's learner with this project's training step; its outputs are the losses, (n, 4).

    Decay, clipping, replicas and restarts are those of `StepModel`. Images are (images, boxes, labels, extent).

    Attributes:
        measure: () -> figures of the validation split, for `evaluate`; set by the task.
    """

    measure = None

    def __init__(self, inputs, outputs, **options):
        super().__init__(inputs, outputs, **options)
        self.each_loss = [keras.metrics.Mean(name) for name in LOSSES]

    @property
    def metrics(self):
        return [self.mean_loss, *self.each_loss]

    def evaluate(self, x=None, *, callbacks=None, **options):
        """Average precision of the validation split, in place of the losses that Keras would compute."""
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(callbacks, model=self)
        callbacks.on_test_begin()
        figures = self.measure()
        callbacks.on_test_end(figures)
        return figures

    def _on_every_replica(self, step):
        """As there, but a graph for each of the two shapes of a batch: one for both would have open sizes."""
        import tensorflow as tf

        strategy = self.distribute_strategy
        step = tf.autograph.experimental.do_not_convert(step)
        return tf.function(lambda data: strategy.run(step, args=(data,)), autograph=False)

    def example_losses(self, labels, losses):
        return keras.ops.sum(losses, axis=-1)

    def update_metrics(self, losses, labels, outputs, weights, counted=None):
        self.mean_loss.update_state(losses)
        for i, metric in enumerate(self.each_loss):
            metric.update_state(outputs[:, i])


@dataclass(frozen=True)
class DetectionTask(Task):
    """One run of a detector; `config` is a `DetectionConfig`, `data` a `DetectionData`."""

    config: DetectionConfig
    data: DetectionData

    columns = ("epoch", "step", "loss", *LOSSES, "val_ap50", "val_ap", "rate", "images_per_second", "seconds")
    monitor = "val_ap50"
    compared = ("ap50", "ap")
    splits = ("val", "test")

    def build(self):
        config, recipe, built = self.config, self.config.recipe, self.config.build()
        if config.weights:
            with log_messages_to(self.log), usage_errors():
                load(built.inference, config.detector, config.weights)
        how = {"decay": recipe.decay, "undecayed": recipe.no_weight_decay, "clip": recipe.clip}
        model = DetectionStep(built.learner.inputs, built.learner.outputs, **how)
        forward = trained.forward(built.inference)

        def measure() -> dict:
            sync_batch_norm(model)
            figures = self.figures(self.predict(forward, "val"), "val")
            return {name: figures[name] for name in self.compared}

        model.measure = measure
        return model, built.inference

    def loss(self):
        return None

    def describe(self, saved):
        recipe = self.config.recipe
        return f"{self._parameters(saved):,} trainable parameters, {recipe.epochs} epochs of {self.steps} steps"

    def _parameters(self, saved: keras.Model) -> int:
        return sum(int(np.prod(v.shape)) for v in saved.trainable_variables)

    # --- batches

    @property
    def steps(self):
        return len(pipeline.train_indices(self.data.train, self.config.recipe.batch_size, self.config.seed, 0))

    def train_batches(self, epoch: int = 0, step: int = 0):
        config, recipe = self.config, self.config.recipe
        return pipeline.train_batches(
            self.data.train,
            resize=recipe.resize,
            batch=recipe.batch_size,
            seed=config.seed,
            epochs=recipe.epochs,
            first_epoch=epoch,
            first_step=step,
            mirror=self.data.mirror,
            preprocess=config.preprocessing,
        )

    def image_names(self, epoch, step):
        rows = pipeline.train_indices(self.data.train, self.config.recipe.batch_size, self.config.seed, epoch)
        return ", ".join(str(self.data.train.ids[i]) for i in rows[step])

    def validation(self):
        """A stand-in that makes `fit` call `DetectionStep.evaluate`, which reads the split itself."""
        import tensorflow as tf

        return tf.data.Dataset.from_tensors(tf.zeros((self.compute.replicas, 1)))

    @property
    def validation_epochs(self):
        every, epochs = self.config.recipe.measure_every, self.config.recipe.epochs
        return sorted({*range(every, epochs + 1, every), epochs})

    # --- figures and pictures

    def forward(self, model):
        return trained.forward(model)

    def sample(self):
        few = self.data.val.take(range(min(SHOWN, len(self.data.val))))
        return next(pipeline.eval_batches(few, self.config.recipe.resize, self.config.preprocessing))[1]

    def predict(self, forward, split):
        """The detections on each image of a split."""
        return trained.detect_split(forward, getattr(self.data, split), self.config)

    def figures(self, predictions, split):
        return metrics.measure(predictions, getattr(self.data, split), len(self.config.classes))

    def facts(self, saved, history):
        detector = self.config.detector
        return {
            "arch": detector.name,
            "backbone": detector.backbone.name,
            "data": self.config.data,
            "recipe": self.config.recipe.name,
            "params": self._parameters(saved),
            "seconds": sum(row["seconds"] for row in history),
        }

    @property
    def _title(self) -> str:
        return f"{self.config.detector.name} on {self.data.name}"

    def first_picture(self):
        (images, boxes, labels, _), _ = keras.tree.map_structure(lambda a: a[:SHOWN], self.first_batch)
        low, high = images.min(), images.max()
        shown = [np.uint8(255 * (image - low) / max(high - low, 1e-6)) for image in images]
        truth = [
            Detections(b[k > 0], np.full((k > 0).sum(), np.inf), k[k > 0] - 1)
            for b, k in zip(boxes, labels, strict=True)
        ]
        return plots.sheet(shown, truth, self.config.classes, f"{self._title}: the first training batch")

    def pictures(self, saved, history, predictions):
        few = [self.data.test.images[i] for i in range(min(SHOWN, len(self.data.test)))]
        drawn = {"detections": plots.sheet(few, predictions[:SHOWN], self.config.classes, self._title)}
        return drawn | ({"curves": plots.curves(history, self._title)} if history else {})

    @classmethod
    def summary(cls, result: dict, folder: Path) -> str:
        rate = f"{result['images_per_second']:.0f} images/s"
        return f"done: test {metrics.describe(result['test'])}, {rate}, run {folder}"
