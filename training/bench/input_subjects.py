"""How fast photographs come: the training pipeline against the JPEG decoder alone, on the same files."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from training.bench.task import Task

COUNT = 512
WIDTH, HEIGHT = 500, 375  # the usual ImageNet photograph
QUALITY = 90


def photographs(folder: Path, count: int = COUNT) -> Path:
    """Writes `count` JPEGs of 500x375 pixels in two class folders: crops of scikit-learn's two photographs."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    for label, image in enumerate(load_sample_images().images):
        place = folder / ("temple", "flower")[label]
        place.mkdir(parents=True, exist_ok=True)
        for i in range(count // 2):
            share = rng.uniform(0.5, 1.0)
            wide = int(share * min(image.shape[1], image.shape[0] * WIDTH / HEIGHT))
            high = wide * HEIGHT // WIDTH
            top, left = rng.integers(image.shape[0] - high + 1), rng.integers(image.shape[1] - wide + 1)
            crop = Image.fromarray(image[top : top + high, left : left + wide])
            crop = crop.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
            crop.save(place / f"{i:04}.jpg", quality=QUALITY)
    return folder


def make(task: Task) -> Callable[[int], float]:
    """A function n -> seconds for n batches."""
    import tempfile

    from training.data import folder as folders

    kept = tempfile.TemporaryDirectory()  # as long as the subject lives
    data = folders.load(photographs(Path(kept.name)))
    batches = iter(pipeline(task, data) if task.engine == "ours" else decoder(task, data))

    def run(n: int) -> float:
        began = time.perf_counter()
        for _ in range(n):
            next(batches)
        return time.perf_counter() - began

    run.kept = kept
    return run


def pipeline(task: Task, data):
    """The training stream of an ImageNet recipe: random resized crop and mirror."""
    from keras_cnns.preprocessing import TORCH
    from training.data.augment import Flip, InceptionCrop
    from training.data.pipeline import train_batches

    return train_batches(
        data.train,
        size=task.size,
        channels=3,
        batch_size=task.batch,
        seed=0,
        epochs=10_000,
        augment=(InceptionCrop(), Flip()),
        preprocess=TORCH,
    )


def decoder(task: Task, data):
    """The same files in the same order of decoding, whole, and nothing else."""
    import tensorflow as tf

    paths = tf.constant(data.train.images.items)

    def decode(i):
        return tf.io.decode_jpeg(tf.io.read_file(tf.gather(paths, i)), channels=3)

    indices = tf.data.Dataset.range(len(data.train)).shuffle(len(data.train)).repeat()
    return indices.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(task.batch).prefetch(tf.data.AUTOTUNE)
