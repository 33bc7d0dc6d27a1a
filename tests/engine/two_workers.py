"""One of two workers: python two_workers.py HOST:PORT,HOST:PORT INDEX [idle]. Prints JSON."""

import contextlib
import hashlib
import json
import sys
import time
from dataclasses import replace

import keras
import numpy as np
from replica_laws import Losses

from keras_cnns.blocks.head import cross_entropy
from keras_cnns.layers import BatchNormalization
from keras_cnns.preprocessing import TF
from training.data import pipeline
from training.data.dataset import Split
from training.data.mix import Mixup, soft_labels
from training.data.storage import Pixels
from training.engine import cluster, devices
from training.engine.step import SoftCrossEntropy, StepModel

IMAGES, BATCH, CLASSES = 48, 8, 3


def split(n):
    rng = np.random.default_rng(0)
    return Split(Pixels(rng.integers(0, 255, (n, 8, 8, 3), "uint8")), rng.integers(0, CLASSES, n).astype("int32"))


def batches(shard, mix=None):
    options = {"size": 8, "channels": 3, "batch_size": BATCH, "seed": 1, "epochs": 2, "preprocess": TF}
    return soft_labels(pipeline.train_batches(split(IMAGES), **options, shard=shard), CLASSES, 0.1, mix, 1, 0)


def made(scope):
    keras.utils.set_random_seed(3)
    with scope:
        image = keras.Input((8, 8, 3))
        norm = BatchNormalization(trainable=False)
        x = keras.layers.ReLU()(norm(keras.layers.Conv2D(6, 3)(image)))
        model = StepModel(image, keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(x)), clip=0.1)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), SoftCrossEntropy())
    return model


def measured(model, data):
    model.loss = cross_entropy()
    return model.evaluate(data, verbose=0, return_dict=True)


def main():
    timeout = 10 if sys.argv[3:] else 200
    group = replace(cluster.group(sys.argv[1], int(sys.argv[2]), None), timeout=timeout)
    chosen = devices.choose(None, "float32", "off", False, group)
    if sys.argv[3:] and not group.chief:
        time.sleep(100)  # in Python: TensorFlow's own heartbeat goes on
    if sys.argv[3:]:
        chosen.communicator.total([0])
    found, mix = {}, Mixup(0.4)
    for name, where, data in (
        ("reference", contextlib.nullcontext(), batches(pipeline.ALL_SHARDS, mix)),
        ("losses", chosen.scope(), chosen.feed(batches(chosen.shard, mix), BATCH, endless=True)),
    ):
        watch, model = Losses(), made(where)
        model.fit(data, steps_per_epoch=6, epochs=2, verbose=0, shuffle=False, callbacks=[watch])
        found[name] = watch.each
        options = {"size": 8, "channels": 3, "batch_size": 4, "preprocess": TF}
        if name == "reference":
            found["alone"] = measured(model, pipeline.eval_batches(split(5), **options))
        else:
            five = pipeline.eval_batches(split(5), **options, shard=chosen.shard)
            found["under"] = measured(model, chosen.feed(five, 4))
    long = np.random.default_rng(5).bytes(5_000_003)  # no multiple of what a message is cut into
    cluster.CHUNK = 300_001
    got = chosen.communicator.broadcast(long if group.chief else b"")
    found |= {"sent": hashlib.sha256(long).hexdigest(), "received": hashlib.sha256(got).hexdigest()}
    chosen.communicator.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
