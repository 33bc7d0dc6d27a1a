"""Logits of whole splits, on one device, and the figures made from them."""

import keras
import numpy as np

from keras_cnns.deep import deep_recursion
from training.data.dataset import Split
from training.engine.backends import backend
from training.report.evaluation import confusion, scores

BATCH = 64
TINY = float(np.finfo("float32").tiny)


def logits_model(model: keras.Model) -> keras.Model:
    """The model up to its logits, before the activation of the classes."""
    with deep_recursion():
        return keras.Model(model.input, model.get_layer("logits").output)


def split_logits(
    run, split: Split, *, size, channels, preprocess, crop, views: str
) -> tuple[np.ndarray, np.ndarray]:
    """(logits, labels) of a whole split, in order, by a function of `backend.forward`.

    Args:
        size, channels, preprocess, crop: as in `pipeline.eval_batches`.
        views: "centre", or "ten" for the logarithm of the mean probability over ten crops.
    """
    if views == "ten":
        run, size, crop = over_ten_crops(run, size), round(size / crop), 1.0
    batches = backend.reader(split).eval_batches(
        split, size=size, channels=channels, batch_size=BATCH, preprocess=preprocess, crop=crop
    )
    got = [(keras.ops.convert_to_numpy(run(images)), np.asarray(labels)) for images, labels in batches]
    return np.concatenate([o for o, _ in got]), np.concatenate([y for _, y in got])


def over_ten_crops(run, size: int):
    """`run` for larger images: the logits of their ten crops (Krizhevsky et al. 2012, section 4.1)."""

    def logits(images):
        views = [run(crop) for crop in ten_crops(images, size)]
        return keras.ops.log(keras.ops.mean(keras.ops.softmax(keras.ops.stack(views)), axis=0) + TINY)

    return logits


def ten_crops(images, size: int) -> list:
    """The four corners and the centre of (n, h, w, c), and the mirror images of the five."""
    height, width = images.shape[1:3]
    corners = [(top, left) for top in (0, height - size) for left in (0, width - size)]
    places = [*corners, ((height - size) // 2, (width - size) // 2)]
    crops = [images[:, top : top + size, left : left + size] for top, left in places]
    return [*crops, *(crop[:, :, ::-1] for crop in crops)]


def measure(logits: np.ndarray, labels: np.ndarray, loss: keras.losses.Loss) -> dict:
    """loss, top1, top5 and n of logits, as `result.json` has them."""
    each = loss.call(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(logits))
    return scores(logits, labels, keras.ops.convert_to_numpy(each))


def confusion_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Confusion matrix (true class, predicted class)."""
    return confusion(labels, logits.argmax(axis=1), logits.shape[1])


def ensemble(members: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """(logits, labels) of several networks on the same images: the logarithm of their mean probabilities."""
    logits, labels = members[0]
    if len(members) == 1:
        return logits, labels
    probabilities = np.mean([keras.ops.convert_to_numpy(keras.ops.softmax(m)) for m, _ in members], axis=0)
    return np.log(np.maximum(probabilities, TINY)), labels
