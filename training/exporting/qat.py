"""Quantization-aware training: the int8 network learns the outputs of the float network.

First the ranges of the channels are equalised, which does not change the float network; then the network trains
with fake quantization. The target is the float network's own probabilities (Hinton et al. 2015, arXiv 1503.02531),
so that any head and any loss can be trained, and the result is the same network in eight bits. For a file that is
still less accurate, `advise` says which layers lose most.
"""

import keras
import numpy as np

from keras_cnns.deep import deep_recursion
from keras_cnns.surgery import fake_quantization
from keras_cnns.surgery.equalise import equalise
from training.data import pipeline
from training.data.dataset import Split
from training.exporting.tflite import with_native_layers

RATE, BATCH, SEED = 1e-4, 64, 0
LOG_LINES = 10
IMAGES, NAMED = 32, 3  # calibration images that rank the layers; layers that `advise` names


def train(model: keras.Model, split: Split, calibration: np.ndarray, epochs: int) -> keras.Model:
    """A model with preprocessing inside, with weights that have been trained to be rounded to int8.

    Args:
        split: training images.
        calibration: images as the model takes them.
        epochs: through the training images.
    """
    import tensorflow as tf

    calibration = calibration.astype("float32")
    keras.utils.set_random_seed(SEED)
    teacher = with_native_layers(model)
    with deep_recursion():
        equalised = equalise(teacher, calibration)
        student = fake_quantization.fake_quantize(equalised, fake_quantization.calibrate(equalised, calibration))
    for layer in student.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False  # its statistics stay, in training mode too
    steps = epochs * pipeline.steps_per_epoch(len(split), BATCH)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps))
    optimizer.build(student.trainable_variables)
    divergence = keras.losses.KLDivergence()

    @tf.function
    def step(images):
        target = teacher(images, training=False)
        with tf.GradientTape() as tape:
            loss = divergence(target, student(images, training=True))
        optimizer.apply(tape.gradient(loss, student.trainable_variables), student.trainable_variables)
        return loss

    _, size, _, channels = model.input_shape
    batches = pipeline.train_batches(
        split,
        size=size,
        channels=channels,
        batch_size=BATCH,
        seed=SEED,
        epochs=epochs,
        preprocess=pipeline.untouched,
    )
    losses = []
    for number, (images, _) in enumerate(batches, 1):
        losses.append(float(step(images)))
        if number % max(steps // LOG_LINES, 1) == 0:
            print(f"quantization-aware training: step {number} of {steps}, divergence {np.mean(losses):.4g}")
            losses = []
    with deep_recursion():
        return fake_quantization.copy_weights(equalised, student)


def advise(model: keras.Model, images: np.ndarray, file: str, epochs: int) -> str:
    """For a file that lost too much: the layers that lose most in eight bits, and what to try next.

    A layer is ranked by the noise of its rounding as a share of the signal; `epochs` of training came before.
    """
    model = with_native_layers(model)
    found = [
        (s.noise, f"{name} ({s.low:.3g} to {s.high:.3g}")
        for name, s in fake_quantization.calibrate(model, images[:IMAGES].astype("float32")).items()
    ]
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            flat = np.abs(kernel.reshape(-1, kernel.shape[-1]))
            noise = flat.max(axis=0) / 127 / np.sqrt(12) / np.maximum(np.sqrt((flat**2).mean(axis=0)), 1e-12)
            found.append((float(noise.mean()), f"{layer.name}'s kernel (up to {flat.max():.3g}"))
    found.sort(key=lambda one: -one[0])
    worst = ", ".join(f"{layer}: noise {noise:.1%})" for noise, layer in found[:NAMED])
    options = {
        "model_int8.tflite": f"--qat {2 * epochs or 1}, or --quantize int16x8",
        "model_int16x8.tflite": "--quantize float16",
        "model_dynamic.tflite": "--quantize float16",
    }
    return f"eight bits lose most in {worst}; try {options.get(file, '--quantize none')}"
