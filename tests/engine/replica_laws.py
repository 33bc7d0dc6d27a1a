"""Runs in a process of its own, since logical devices are made before TensorFlow starts. Prints JSON.

Trains the same small network on the same batches on one device and on N replicas, case by case.
"""

import contextlib
import json
import sys
from functools import cache

import keras
import numpy as np
import tensorflow as tf

from keras_cnns.blocks.head import cross_entropy
from keras_cnns.layers import BatchNormalization
from training.engine import devices
from training.engine.step import SoftCrossEntropy, StepModel, steps_done, sync_batch_norm

STEPS, BATCH, SIDE, CLASSES = 4, 12, 8, 3

# What is changed in `Case`; every case runs without a strategy and with N replicas.
CASES = {
    "plain": {},
    "clip": {"clip": 0.05},
    "decay": {"decay": 0.1, "undecayed": ("*/bias", "*/gamma")},
    "accumulate": {"accumulate": 2},
    "average": {"optimizer": lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8)},
    "adam": {"optimizer": lambda: keras.optimizers.Adam(0.01)},
    "class_weights": {"class_weight": {0: 0.2, 1: 1.0, 2: 3.0}},
    "soft_labels": {"soft": True},
    "heads": {"heads": 2},
    "penalty": {"regularizer": 0.05},
    "xla": {"xla": True},
    "synchronised": {"norms": "synchronised"},
    "shares": {"norms": "shares"},
    "shares_xla": {"norms": "shares", "xla": True},
    "all": {
        "clip": 0.1,
        "decay": 0.05,
        "undecayed": ("*/gamma",),
        "accumulate": 2,
        "soft": True,
        "heads": 2,
        "regularizer": 0.01,
        "xla": True,
        "norms": "shares",
        "optimizer": lambda: keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.8),
    },
}


def network(heads=1, regularizer=0.0, norms="frozen", dropout=0.0):
    """Convolution, batch norm, dense heads."""
    image = keras.Input((SIDE, SIDE, 3))
    penalty = keras.regularizers.L2(regularizer) if regularizer else None
    x = keras.layers.Conv2D(6, 3, kernel_regularizer=penalty, name="conv")(image)
    norm = BatchNormalization(synchronized=norms == "synchronised", name="norm")
    norm.trainable = norms != "frozen"
    x = keras.layers.ReLU()(norm(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    if dropout:
        x = keras.layers.Dropout(dropout)(x)
    outputs = [keras.layers.Dense(CLASSES, name=f"logits{i}", dtype="float32")(x) for i in range(heads)]
    return image, outputs


def data(soft=False, images=STEPS * BATCH):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(images, SIDE, SIDE, 3)).astype("float32")
    y = rng.integers(0, CLASSES, images).astype("int32")
    x[..., 0] += y[:, None, None]
    if soft:
        y = (0.8 * np.eye(CLASSES)[y] + 0.2 / CLASSES).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)


@cache
def chosen(replicas):
    """One strategy a process: two of unequal size would disturb each other's collectives."""
    return devices.choose(replicas, "auto", "auto", False)


def made(
    replicas, *, optimizer=None, soft=False, xla=False, clip=None, decay=0.0, undecayed=(), accumulate=1, **net
):
    keras.utils.set_random_seed(3)
    with chosen(replicas).scope() if replicas else contextlib.nullcontext():
        image, outputs = network(**net)
        shares = (1.0, 0.3)[: len(outputs)]
        model = StepModel(image, outputs, decay, undecayed, shares, clip, accumulate)
        rule = optimizer() if optimizer else keras.optimizers.SGD(0.1, momentum=0.9)
        model.compile(rule, SoftCrossEntropy() if soft else cross_entropy(), xla=xla)
    return model


class Losses(keras.callbacks.Callback):
    """The loss of every step by itself."""

    def __init__(self):
        super().__init__()
        self.each = []

    def on_train_batch_end(self, batch, logs=None):
        self.each.append(logs["loss"])
        self.model.reset_metrics()


def trained(replicas, case):
    case, watch = dict(case), Losses()
    weight = case.pop("class_weight", None)
    model = made(replicas, **case)
    start = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    model.fit(
        data(case.get("soft", False)), epochs=2, verbose=0, shuffle=False, callbacks=[watch], class_weight=weight
    )
    weights = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    return {"losses": watch.each, "start": start, "weights": weights, "traces": model.traces}


def on_one_device(replicas, case):
    """The reference: the same without a strategy.

    Gradients of `n` parts that are normalised by themselves are those of n replicas.
    """
    if case.get("norms") == "shares":
        case = {**case, "accumulate": replicas * case.get("accumulate", 1), "norms": "own"}
    return trained(0, {**case, "xla": False})


def law(name, replicas):
    """Greatest relative difference of losses and greatest difference of weights from one device."""
    one, many = on_one_device(replicas, CASES[name]), trained(replicas, CASES[name])
    apart = np.abs(np.subtract(one["losses"], many["losses"])) / np.abs(one["losses"])
    return {
        "losses": float(apart.max()),
        "weights": max(float(np.abs(a - b).max()) for a, b in zip(one["weights"], many["weights"], strict=True)),
        "moved": max(float(np.abs(a - b).max()) for a, b in zip(one["weights"], one["start"], strict=True)),
        "traces": many["traces"],
        "replicas": replicas,
    }


def ragged():
    """One image over: only one replica gets it."""
    figures = []
    for replicas in (0, REPLICAS):
        model = made(replicas)
        figures.append(model.evaluate(data(images=2 * BATCH + 1), verbose=0, return_dict=True))
    return figures


def dropout():
    """Gradients of images that are all alike: equal on replicas only if their masks are."""
    runs = []
    for xla in (False, True):
        for _ in range(2):
            model = made(REPLICAS, dropout=0.5, xla=xla, optimizer=lambda: keras.optimizers.SGD(0.0))
            model.make_functions()
            same = tf.ones((BATCH, SIDE, SIDE, 3)), tf.zeros(BATCH, tf.int32)
            shared = model.distribute_strategy.experimental_distribute_dataset(
                tf.data.Dataset.from_tensors(same).repeat(2)
            )
            half = tf.function(
                lambda d, m=model: m.distribute_strategy.run(lambda x, y: m.gradient_fn(x, y, None)[0], args=d),
                autograph=False,
            )
            drawn = [model.distribute_strategy.experimental_local_results(half(d)) for d in shared]
            runs.append([[r.numpy().tolist() for r in step] for step in drawn])
    return {"plain": runs[:2], "compiled": runs[2:]}


def overflow():
    """float16 with a pixel too large for it, on replica 1 only."""
    keras.config.set_dtype_policy("mixed_float16")
    model = made(REPLICAS, optimizer=lambda: keras.optimizers.SGD(0.1, momentum=0.9))
    (images, labels), *_ = data()
    before = [v.numpy() for v in model.trainable_variables]
    poisoned = images.numpy()
    poisoned[-1, 0, 0, 0] = 1e6
    steps = []
    for batch in (poisoned, images.numpy(), images.numpy()):
        model.train_on_batch(batch, labels)
        change = max(
            float(np.abs(v.numpy() - b).max()) for v, b in zip(model.trainable_variables, before, strict=True)
        )
        steps.append([change, float(model.optimizer.dynamic_scale.numpy()), steps_done(model)])
    scale = model.optimizer.initial_scale
    keras.config.set_dtype_policy("float32")
    return {"steps": steps, "scale": scale}


def statistics(xla):
    """What is saved is the mean over replicas, and is what was evaluated in the strategy."""
    model = made(REPLICAS, norms="own", xla=xla)
    model.fit(data(), epochs=2, verbose=0, shuffle=False)
    moving = next(v for v in model.non_trainable_variables if "moving_mean" in v.path)
    locals_ = model.distribute_strategy.experimental_local_results
    before = [v.numpy() for v in locals_(moving.value)]
    sync_batch_norm(model)
    after = [v.numpy() for v in locals_(moving.value)]
    under = model.evaluate(data(), verbose=0, return_dict=True)
    values = model.get_weights()
    alone = made(0, norms="own")
    alone.set_weights(values)
    return {
        "drifted": float(np.abs(before[0] - before[1]).max()),
        "is_mean": float(np.abs(after[0] - np.mean(before, axis=0)).max()),
        "apart": float(np.abs(after[0] - after[1]).max()),
        "under": under,
        "alone": alone.evaluate(data(), verbose=0, return_dict=True),
    }


def main():
    chosen(REPLICAS)
    others = {"ragged": ragged, "dropout": dropout, "overflow": overflow}
    others |= {"statistics": lambda: statistics(False), "statistics_xla": lambda: statistics(True)}
    print(json.dumps({n: law(n, REPLICAS) if n in CASES else others[n]() for n in sys.argv[2:]}))


if __name__ == "__main__":
    REPLICAS = int(sys.argv[1])
    main()
