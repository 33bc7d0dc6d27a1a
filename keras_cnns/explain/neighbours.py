"""Nearest neighbours of images by a network's last features, or by short binary codes of them.

After Krizhevsky et al. (2012, section 6): similar images have features of the last hidden layer at a small
Euclidean distance; an autoencoder compresses these into binary codes, which are compared faster. An autoencoder on
raw pixels finds images with similar edges instead of similar objects, since it has no labels.
"""

from dataclasses import dataclass

import keras
import numpy as np

from keras_cnns import graph
from keras_cnns.deep import deep_recursion

ONES = np.array([bin(i).count("1") for i in range(2**16)], "uint8")  # number of one-bits of each 16-bit number
BLOCK = 2**24  # number of distances in memory at once


def penultimate(model: keras.Model) -> keras.Model:
    """The model up to the input of its last layer with weights: features, (n, d).

    >>> import keras_cnns
    >>> penultimate(keras_cnns.ResNet20()).output_shape
    (None, 64)
    """
    nodes, tensors = graph.trace(model)
    last = next(node for node in nodes[::-1] if node.layer.weights)
    tensor = tensors[last.inputs[0]]
    with deep_recursion():
        if len(tensor.shape) == 4:  # a network whose classifier is a convolution
            tensor = keras.layers.GlobalAveragePooling2D(name="features")(tensor)
        return keras.Model(graph.entry(model), tensor, name=f"{model.name}_penultimate")


def _nearest(count: int, width: int, k: int, queries, distances) -> np.ndarray:
    k = min(k, count)
    found = []
    step = max(1, BLOCK // max(count * width, 1))
    for start in range(0, len(queries), step):
        far = distances(queries[start : start + step])
        near = np.argpartition(far, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(far, near, 1), axis=1, kind="stable")
        found.append(np.take_along_axis(near, order, 1))
    return np.concatenate(found)


@dataclass(frozen=True, eq=False)
class Vectors:
    """Real vectors (n, d) with the Euclidean distance.

    >>> Vectors(np.eye(3, dtype="float32")).nearest(np.array([[0.0, 0.9, 0.2]], "float32"), 2).tolist()
    [[1, 2]]
    """

    array: np.ndarray

    def nearest(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Indices (q, k) of the nearest, best first."""
        squares = np.square(self.array).sum(axis=1)
        # |a - b|^2 without |b|^2, which is a constant of the query.
        return _nearest(len(self.array), 1, k, queries, lambda q: squares - 2 * q @ self.array.T)


@dataclass(frozen=True, eq=False)
class Codes:
    """Binary codes, (n, words) of uint16, with the Hamming distance.

    >>> Codes(np.array([[0], [7], [8]], "uint16")).nearest(np.array([[3]], "uint16"), 2).tolist()
    [[1, 0]]
    """

    array: np.ndarray

    def nearest(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Indices (q, k) of the nearest, best first."""

        kind, count = ("uint16", ONES.__getitem__)
        if hasattr(np, "bitwise_count"):  # NumPy 2 has an instruction for it
            kind, count = ("uint64" if self.array.shape[1] % 4 == 0 else "uint16"), np.bitwise_count
        base, queries = (np.ascontiguousarray(x).view(kind) for x in (self.array, queries))

        def distances(q):
            return sum(count(q[:, i, None] ^ base[None, :, i]).astype("uint16") for i in range(q.shape[1]))

        return _nearest(len(base), 1, k, queries, distances)


@dataclass(frozen=True, eq=False)
class Encoder:
    """Encodes vectors as binary codes; `fit` trains one. `error` is the fraction of variance that it loses."""

    model: keras.Model
    mean: np.ndarray
    scale: float
    error: float

    @classmethod
    def fit(cls, vectors: np.ndarray, bits: int = 64, *, hidden: int = 256, epochs: int = 30, seed: int = 0):
        """Trains an autoencoder on vectors (n, d), without labels, with layers d, `hidden`, `bits`, `hidden`, d.

        Noise before the sigmoid of the bits makes them binary (Salakhutdinov & Hinton 2009, Semantic
        Hashing). `bits` is a multiple of 16.
        """
        if bits % 16:
            raise ValueError(f"bits must be a multiple of 16, got {bits}")
        mean = vectors.mean(axis=0)
        scale = float(max((vectors - mean).std(), 1e-12))
        x = (vectors - mean) / scale
        keras.utils.set_random_seed(seed)
        source = keras.Input((vectors.shape[1],))
        hid = keras.layers.Dense(hidden, activation="relu")(source)
        bent = keras.layers.BatchNormalization(momentum=0.9, scale=False)(keras.layers.Dense(bits)(hid))
        noisy = keras.layers.GaussianNoise(1.0)(keras.layers.Rescaling(2.0)(bent))
        code = keras.layers.Activation("sigmoid")(noisy)
        out = keras.layers.Dense(vectors.shape[1])(keras.layers.Dense(hidden, activation="relu")(code))
        whole = keras.Model(source, out)
        rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(x) // 128))
        whole.compile(keras.optimizers.Adam(rate), "mse")
        whole.fit(x, x, batch_size=128, epochs=epochs, verbose=0)
        lost = whole.evaluate(x, x, batch_size=1024, verbose=0) / max(np.square(x).mean(), 1e-12)
        return cls(keras.Model(source, bent), mean, scale, float(lost))

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Codes (n, bits / 16), uint16."""
        bits = self.model.predict((vectors - self.mean) / self.scale, batch_size=1024, verbose=0) > 0
        return np.packbits(bits, axis=1).view("uint16")


def precision(found: np.ndarray, labels: np.ndarray, wanted: np.ndarray) -> float:
    """Fraction of the found images (q, k) that have the class of the query.

    `labels` are those of the searched images, `wanted` those of the queries.

    >>> precision(np.array([[0, 1], [2, 0]]), np.array([5, 5, 7]), np.array([5, 7]))
    0.75
    """
    return float((labels[found] == wanted[:, None]).mean())
