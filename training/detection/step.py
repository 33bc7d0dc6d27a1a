"""The training step of a detector: that of `engine.step`, with the four losses in place of the one."""

import keras

from keras_cnns.detection import LOSSES
from training.engine.step import StepModel


class DetectionStep(StepModel):
    """A detector's learner with this project's training step; its outputs are the losses, (n, 4).

    Decay, clipping, replicas and restarts are those of `StepModel`. Images are (images, boxes, labels, extent).
    """

    def __init__(self, inputs, outputs, **options):
        super().__init__(inputs, outputs, **options)
        self.each_loss = [keras.metrics.Mean(name) for name in LOSSES]

    @property
    def metrics(self):
        return [self.mean_loss, *self.each_loss]

    def _on_every_replica(self, step):
        """As there, but a graph for each of the two shapes of a batch: one for both would know no sizes."""
        import tensorflow as tf

        strategy = self.distribute_strategy
        step = tf.autograph.experimental.do_not_convert(step)
        return tf.function(lambda data: strategy.run(step, args=(data,)), autograph=False)

    def _each(self, labels, losses):
        return keras.ops.sum(losses, axis=-1)

    def _measure(self, losses, labels, outputs, weights, counted=None):
        self.mean_loss.update_state(losses)
        for i, metric in enumerate(self.each_loss):
            metric.update_state(outputs[:, i])
