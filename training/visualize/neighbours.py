"""The views `nearest` and `projector` of `explain.py`: similar images, and features in the plane."""

import csv
import io
import time

import numpy as np

from keras_cnns.explain import Codes, Encoder, Vectors, penultimate, precision
from training.data import pipeline
from training.data.dataset import Split
from training.engine.backends import backend
from training.report import pictures
from training.report.folder import atomic, write_text
from training.visualize import plots
from training.visualize.views import Context, NotApplicable

MAX_IMAGES, MAX_QUERIES, DRAWN_QUERIES = 4_000, 500, 8
K = 10
BITS = 64
PIXEL_SIDE = 32  # of the images for the autoencoder of pixels
MAX_POINTS = 1_000
SPRITE_SIDE = 32


def nearest(s: Context) -> None:
    """Nearest images by three methods: precision and time in a table, the first queries in a picture."""
    data, n = _data(s), s.network
    base, queries = _sample(data.train, MAX_IMAGES), _sample(data.test, MAX_QUERIES)
    features, query_features = _features(s, base), _features(s, queries)
    pixels, query_pixels = (_pixels(s, split, min(PIXEL_SIDE, n.size)) for split in (base, queries))
    flat, query_flat = (x.reshape(len(x), -1) / 255 for x in (pixels, query_pixels))
    encode_features, encode_pixels = Encoder.fit(features, BITS), Encoder.fit(flat, BITS)
    methods = {
        f"features, {features.shape[1]} numbers": (Vectors(features), query_features),
        f"features, codes of {BITS} bits": (Codes(encode_features(features)), encode_features(query_features)),
        f"pixels, codes of {BITS} bits": (Codes(encode_pixels(flat)), encode_pixels(query_flat)),
    }
    rows, found = [], {}
    for name, (index, vectors) in methods.items():
        found[name], seconds = _search(index, vectors)
        correct = precision(found[name], base.labels, queries.labels)
        stored = index.array.itemsize * index.array.shape[1]
        rows.append((name, f"{correct:.4f}", f"{1e3 * seconds:.4f}", stored))
    heads = ("search by", f"precision of {K}", "ms a query", "bytes an image")
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([heads, *rows])
    write_text(s.out / "nearest.csv", table.getvalue())
    s.say(f"{len(base)} images of {data.name}'s train split, {len(queries)} queries of its test split")
    for row in (heads, *rows):
        s.say("  ".join(str(cell).ljust(28 if i == 0 else 15) for i, cell in enumerate(row)).rstrip())
    titles = {name.replace(", ", "\n", 1): indices[:DRAWN_QUERIES] for name, indices in found.items()}
    figure = plots.neighbours(
        query_pixels[:DRAWN_QUERIES].astype("uint8"),
        queries.labels[:DRAWN_QUERIES],
        titles,
        pixels.astype("uint8"),
        base.labels,
        n.classes,
        f"{n.name}: nearest images of {data.name}",
    )
    s.draw(figure, "nearest")


def projector(s: Context) -> None:
    """Features with labels and images for TensorBoard's projector, and their PCA and t-SNE."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    data = _data(s)
    chosen = _sample(data.test, MAX_POINTS)
    features, images = _features(s, chosen), _pixels(s, chosen, SPRITE_SIDE)
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
            f'  sprite {{\n    image_path: "sprite.png"\n    single_image_dim: {SPRITE_SIDE}\n'
            f"    single_image_dim: {SPRITE_SIDE}\n  }}\n}}\n"
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
            f"{s.network.name} has {len(s.network.classes)} classes, the data has {len(s.data.classes)}"
        )
    return s.data


def _sample(split: Split, limit: int) -> Split:
    """Up to `limit` random images, the same at each call."""
    return split.take(np.random.default_rng(0).permutation(len(split))[:limit])


def _features(s: Context, split: Split) -> np.ndarray:
    n = s.network
    run = backend.forward(penultimate(n.model))
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


def _search(index, queries) -> tuple[np.ndarray, float]:
    """Indices of the nearest images, and seconds per query: the fastest of three passes over all queries."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        found = index.nearest(queries, K)
        times.append(time.perf_counter() - start)
    return found, min(times) / len(queries)


def _save_sprite(path, images, side: int) -> None:
    from PIL import Image

    whole = pictures.mosaic(np.round(images).astype("uint8"), side, gap=0, background=0)
    blank = np.zeros((side * SPRITE_SIDE, side * SPRITE_SIDE, whole.shape[-1]), "uint8")
    blank[: whole.shape[0]] = whole
    with atomic(path) as file:
        Image.fromarray(blank[..., 0] if blank.shape[-1] == 1 else blank).save(file, "PNG")
