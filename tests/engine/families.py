"""Two replicas against one device for networks of the zoo, shrunk; in a process of its own. Prints JSON.

Arguments: names of miniatures. The reference on one device normalises each half of a batch by itself; no dropout.
"""

import contextlib
import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[1]))

from replica_laws import Losses
from support import MINIATURES

from training.engine import devices
from training.engine.backends import backend
from training.engine.step import StepModel

STEPS, BATCH = 3, 8


def trained(architecture, where, xla, parts):
    keras.utils.set_random_seed(3)
    with where:
        plain = architecture(classes=10)
        for layer in plain.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        model = StepModel(plain.inputs, plain.get_layer("logits").output, decay=1e-3, clip=0.5, accumulate=parts)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), architecture.head.loss(), xla=xla)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(STEPS * BATCH, *architecture.input_shape)).astype("float32")
    labels = rng.integers(0, 10, STEPS * BATCH).astype("int32")
    said = backend.check_xla(model, images[: BATCH // 2], labels[: BATCH // 2]) if xla else ""
    watch = Losses()
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH)
    model.fit(data, verbose=0, shuffle=False, callbacks=[watch])
    if xla and model.xla:
        assert model.traces == model.distribute_strategy.num_replicas_in_sync, (
            "training uses the functions that check_xla compiled"
        )
    return watch.each, [keras.ops.convert_to_numpy(v) for v in model.trainable_variables], said


def main():
    chosen = devices.choose(2, "auto", "on", False)
    for name in sys.argv[1:]:
        architecture = MINIATURES[name]
        found = {"name": name}
        for xla in (False, True):  # each against its like: XLA rounds in another order
            losses, weights, _ = trained(architecture, contextlib.nullcontext(), xla, 2)
            many, ends, said = trained(architecture, chosen.scope(), xla, 1)
            found["compiled" if xla else "plain"] = {
                "losses": float(np.max(np.abs(np.subtract(losses, many)) / np.abs(losses))),
                "weights": max(float(np.abs(a - b).max()) for a, b in zip(weights, ends, strict=True)),
                "said": said,
            }
        print(json.dumps(found), flush=True)
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
