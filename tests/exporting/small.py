"""Run folders of miniatures that have learned the digits, made in seconds."""

from dataclasses import replace

import keras
import numpy as np

from keras_cnns.architecture import Architecture
from training.classification import setup
from training.classification.trained import Trained
from training.data import pipeline, sources
from training.engine import devices
from training.recipes import defaults
from training.report.folder import write_json, write_text
from training.run_folder import config as configs
from training.run_folder.checkpoints import weights_sha256


def run_folder(folder, architecture: Architecture, epochs: int):
    """A finished run as `fit.py` leaves it, of any architecture: trained by Adam, without its recipe's care."""
    data = sources.digits()
    recipe = defaults.choose(architecture, data, "digits", "quick", epochs, None)
    recipe = replace(recipe, image_size=architecture.input_shape[0])
    here = devices.Compute("CPU", 1, "float32", False, None, "")
    config = setup.configure(architecture, recipe, data, "digits", here)
    model, _ = config.build_for_training()
    learn(model, config.preprocessing, data.train, epochs)
    folder.mkdir()
    configs.write(config, folder)
    model.save(folder / "model.keras")
    write_text(folder / "labels.txt", "\n".join(config.classes) + "\n")
    test = {
        "loss": 0.0,
        "top1": accuracy(model, config.preprocessing, data.test),
        "top5": 1.0,
        "n": len(data.test),
    }
    result = {"arch": architecture.name, "test": test, "weights_sha256": weights_sha256(model), "finished": True}
    write_json(folder / "result.json", result)
    return folder


def learn(model, preprocessing, train, epochs: int, rate: float = 1e-3) -> None:
    """Cross-entropy on the probabilities that the model gives."""
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
    _, side, _, channels = model.input_shape
    stream = pipeline.train_batches(
        train, size=side, channels=channels, batch_size=64, seed=0, epochs=epochs, preprocess=preprocessing
    )
    model.fit(stream, verbose=0, shuffle=False)  # the stream has its own order


def accuracy(model, preprocessing, split) -> float:
    """Top-1 of a split."""
    _, side, _, channels = model.input_shape
    stream = pipeline.eval_batches(split, size=side, channels=channels, batch_size=64, preprocess=preprocessing)
    right = [np.asarray(model(x, training=False)).argmax(axis=1) == np.asarray(y) for x, y in stream]
    return float(np.concatenate(right).mean())


def untrained(architecture: Architecture, randomise) -> Trained:
    """A network with random weights and statistics, as `loading` gives one."""
    model = randomise(architecture(classes=10))
    names, loss = tuple("0123456789"), architecture.head.loss()
    return Trained("small", model, names, architecture.preprocessing, 1.0, "centre", None, loss)
