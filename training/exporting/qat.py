"""A short quantisation-aware fine-tuning: the int8 network learns the answers of the float network.

First loud channels are evened out, which changes nothing in float; then the network learns with what is left.
Its labels are the float network's probabilities (Hinton et al. 2015, arXiv 1503.02531), so that any head and loss
can be tuned, and what is learned is to be the same network in eight bits.
"""

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np

from keras_cnns import stock_layers
from keras_cnns.deep import deep_recursion
from keras_cnns.surgery import fake_quantization
from keras_cnns.surgery.equalise import equalise
from training.data import pipeline
from training.data.dataset import Split
from training.exporting import tflite
from training.exporting.export_model import ExportModel

RATE, BATCH, SEED = 1e-4, 64, 0
TOLD = 10  # lines of progress


def tuned(
    subject: ExportModel, train: Split, images: np.ndarray, epochs: int, say: Callable[[str], None]
) -> ExportModel:
    """The subject with weights that have learned to be rounded to int8.

    Args:
        images: to calibrate with, as the network is shown them.
        epochs: through the training images.
    """
    import tensorflow as tf

    network, shown = subject.network, images.astype("float32")
    keras.utils.set_random_seed(SEED)
    with deep_recursion():
        teacher = stock_layers(subject.whole, but=tflite.NATIVE)
        even = equalise(teacher, shown)
        pupil = fake_quantization.fake_quantize(even, fake_quantization.calibrate(even, shown))
    for layer in pupil.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False  # its statistics stay, in training mode too
    steps = epochs * pipeline.steps_per_epoch(len(train), BATCH)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps))
    optimizer.build(pupil.trainable_variables)
    loss = keras.losses.KLDivergence()

    @tf.function
    def step(seen):
        wanted = teacher(seen, training=False)
        with tf.GradientTape() as tape:
            cost = loss(wanted, pupil(seen, training=True))
        gradients = tape.gradient(cost, pupil.trainable_variables)
        optimizer.apply(gradients, pupil.trainable_variables)
        return cost

    stream = pipeline.train_batches(
        train,
        size=network.size,
        channels=network.channels,
        batch_size=BATCH,
        seed=SEED,
        epochs=epochs,
        preprocess=pipeline.untouched,
    )
    costs = []
    for number, (seen, _) in enumerate(stream, 1):
        costs.append(float(step(seen)))
        if number % max(steps // TOLD, 1) == 0:
            say(f"fine-tuning: step {number} of {steps}, divergence {np.mean(costs):.4g}")
            costs = []
    with deep_recursion():
        return replace(subject, whole=fake_quantization.copy_weights(even, pupil))
