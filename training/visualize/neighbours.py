"""Images that a network finds alike, for `explain.py`: three ways to search, and TensorBoard's projector."""

import csv
import io
import time

import numpy as np

from keras_cnns.explain import Codes, Encoder, Vectors, penultimate, precision
from training.classification import evaluation
from training.data import pipeline
from training.data.dataset import Split
from training.report import pictures
from training.report.folder import atomic, write_text
from training.visualize import plots
from training.visualize.views import Context, NotApplicable

MOST, QUERIES, SHOWN = 4_000, 500, 8
K = 10
BITS = 64
PIXELS = 32  # a side, of the images that the autoencoder of pixels sees
POINTS = 1_000
SPRITE = 32


def nearest(s: Context) -> None:
    """Nearest images three ways: their precision and time in a table, and the first queries in a picture."""
    data, n = _data(s), s.network
    base, queries = _some(data.train, MOST), _some(data.test, QUERIES)
    told, asked = _features(s, base), _features(s, queries)
    pixels, wanted_pixels = (_pixels(s, split, min(PIXELS, n.size)) for split in (base, queries))
    flat, wanted_flat = (x.reshape(len(x), -1) / 255 for x in (pixels, wanted_pixels))
    by_features, by_pixels = Encoder.fit(told, BITS), Encoder.fit(flat, BITS)
    ways = {
        f"features, {told.shape[1]} numbers": (Vectors(told), asked),
        f"features, codes of {BITS} bits": (Codes(by_features(told)), by_features(asked)),
        f"pixels, codes of {BITS} bits": (Codes(by_pixels(flat)), by_pixels(wanted_flat)),
    }
    rows, found = [], {}
    for name, (index, vectors) in ways.items():
        found[name], seconds = _timed(index, vectors)
        right = precision(found[name], base.labels, queries.labels)
        stored = index.array.itemsize * index.array.shape[1]
        rows.append((name, f"{right:.4f}", f"{1e3 * seconds:.4f}", stored))
    heads = ("search by", f"precision of {K}", "ms a query", "bytes an image")
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([heads, *rows])
    write_text(s.out / "nearest.csv", table.getvalue())
    s.say(f"{len(base)} images of {data.name}'s train split, {len(queries)} queries of its test split")
    for row in (heads, *rows):
        s.say("  ".join(str(cell).ljust(28 if i == 0 else 15) for i, cell in enumerate(row)).rstrip())
    titles = {name.replace(", ", "\n", 1): indices[:SHOWN] for name, indices in found.items()}
    figure = plots.neighbours(
        wanted_pixels[:SHOWN].astype("uint8"),
        queries.labels[:SHOWN],
        titles,
        pixels.astype("uint8"),
        base.labels,
        n.classes,
        f"{n.name}: nearest images of {data.name}",
    )
    s.draw(figure, "nearest")


def projector(s: Context) -> None:
    """Features for TensorBoard's projector, with labels and images, and laid out in the plane by PCA and t-SNE."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    data = _data(s)
    chosen = _some(data.test, POINTS)
    features, images = _features(s, chosen), _pixels(s, chosen, SPRITE)
    plane = {
        "PCA": PCA(2, random_state=0).fit_transform(features),
        "t-SNE": TSNE(2, random_state=0, perplexity=min(30, (len(features) - 1) / 3)).fit_transform(features),
    }
    folder = s.out / "projector"
    folder.mkdir(exist_ok=True)
    classes = s.network.classes
    write_text(folder / "labels.tsv", "".join(f"{classes[i]}\n".replace("\t", " ") for i in chosen.labels))
    side = int(np.ceil(np.sqrt(len(images))))
    _save_sprite(folder / "sprite.png", images, side)
    config = []
    for name, vectors in {"features": features, **plane}.items():
        file = f"{name.lower()}.tsv"
        write_text(folder / file, "".join("\t".join(f"{v:.5g}" for v in row) + "\n" for row in vectors))
        config.append(
            f'embeddings {{\n  tensor_name: "{name}"\n  tensor_path: "{file}"\n  metadata_path: "labels.tsv"\n'
            f'  sprite {{\n    image_path: "sprite.png"\n    single_image_dim: {SPRITE}\n'
            f"    single_image_dim: {SPRITE}\n  }}\n}}\n"
        )
    write_text(folder / "projector_config.pbtxt", "".join(config))
    title = f"{s.network.name}: features of {len(images)} images of {data.name}"
    s.draw(plots.scatter(plane, chosen.labels, classes, title), "features")
    s.say(f"{folder} (tensorboard --logdir {folder}, then Projector)")


def _data(s: Context):
    if s.data is None:
        raise NotApplicable("give --data, which images to search")
    if len(s.data.classes) != len(s.network.classes):
        raise NotApplicable(
            f"{s.network.name} knows {len(s.network.classes)} classes, the data {len(s.data.classes)}"
        )
    return s.data


def _some(split: Split, most: int) -> Split:
    """Up to `most` images by chance, always the same."""
    return split.take(np.random.default_rng(0).permutation(len(split))[:most])


def _features(s: Context, split: Split) -> np.ndarray:
    n = s.network
    run = evaluation.forward(penultimate(n.model))
    batches = pipeline.eval_batches(
        split, size=n.size, channels=n.channels, batch_size=64, preprocess=n.preprocessing, crop=n.crop
    )
    return np.concatenate([np.asarray(run(images)) for images, _ in batches])


def _pixels(s: Context, split: Split, size: int) -> np.ndarray:
    """(n, size, size, channels) from 0 to 255."""
    batches = pipeline.eval_batches(
        split, size=size, channels=s.network.channels, batch_size=256, preprocess=pipeline.untouched
    )
    return np.concatenate([np.asarray(images) for images, _ in batches])


def _timed(index, queries) -> tuple[np.ndarray, float]:
    """What is found, and seconds a query: the best of three passes over all queries."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        found = index.nearest(queries, K)
        times.append(time.perf_counter() - began)
    return found, min(times) / len(queries)


def _save_sprite(path, images, side: int) -> None:
    from PIL import Image

    whole = pictures.mosaic(np.round(images).astype("uint8"), side, gap=0, background=0)
    blank = np.zeros((side * SPRITE, side * SPRITE, whole.shape[-1]), "uint8")
    blank[: whole.shape[0]] = whole
    with atomic(path) as file:
        Image.fromarray(blank[..., 0] if blank.shape[-1] == 1 else blank).save(file, "PNG")
