"""Workloads of reading photographs: the training pipeline and the JPEG decoder alone, on the same files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from training.bench.workload import Workload, time_calls

COUNT = 512
WIDTH, HEIGHT = 500, 375  # a typical ImageNet photograph
QUALITY = 90


def write_photographs(folder: Path, count: int) -> Path:
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


def make(workload: Workload) -> Callable[[int], float]:
    """The function that runs a workload: n -> seconds for n batches."""
    import tempfile

    import tensorflow as tf

    from training.data.augment import Flip, InceptionCrop
    from training.data.dataset import Split
    from training.data.pipeline import train_batches, untouched
    from training.data.storage import Files

    kept = tempfile.TemporaryDirectory()  # as long as the workload exists
    files = sorted(str(path) for path in write_photographs(Path(kept.name), COUNT).rglob("*.jpg"))
    if workload.engine == "ours":  # the training batches of an ImageNet recipe, whose step normalises
        batches = train_batches(
            # The loader of folders would keep these few photographs of one size decoded in memory.
            Split(Files(tuple(files)), np.arange(len(files)) % 2),
            size=workload.size,
            channels=3,
            batch_size=workload.batch,
            seed=0,
            epochs=10_000,
            augment=(InceptionCrop(), Flip()),
            preprocess=untouched,
        )
    else:  # the same files, decoded whole, and nothing else
        paths = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files)).repeat()
        images = paths.map(
            lambda path: tf.io.decode_jpeg(tf.io.read_file(path), channels=3), num_parallel_calls=tf.data.AUTOTUNE
        )
        batches = images.batch(workload.batch).prefetch(tf.data.AUTOTUNE)
    stream = iter(batches)
    run = time_calls(lambda: next(stream))
    run.kept = kept
    return run
