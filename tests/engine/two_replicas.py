"""Runs in a process of its own, since logical devices are made before TensorFlow starts. Prints JSON."""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_cnns
from training.engine import compute
from training.engine.step import StepModel, synchronise

STEPS, BATCH = 4, 8


def data():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(STEPS * BATCH, 16, 16, 3)).astype("float32")
    labels = rng.integers(0, 10, STEPS * BATCH).astype("int32")
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH, drop_remainder=True)


def train(scope, frozen: bool):
    keras.utils.set_random_seed(3)
    with scope:
        arch = keras_cnns.ResNet20
        plain = arch(input_shape=(16, 16, 3))
        if frozen:
            for layer in plain.layers:
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.trainable = False
        model = StepModel(plain.inputs, plain.get_layer("logits").output, decay=1e-3)
        model.compile(keras.optimizers.SGD(0.02, momentum=0.9), arch.head.loss(), jit_compile=False)
    history = model.fit(data(), epochs=2, verbose=0, shuffle=False)
    return plain, model, history.history["loss"]


def main():
    chosen = compute.choose(2, "auto", "auto", False)
    one = train(tf.distribute.get_strategy().scope(), frozen=True)
    two = train(chosen.scope(), frozen=True)
    difference = max(
        float(np.abs(keras.ops.convert_to_numpy(a) - keras.ops.convert_to_numpy(b)).max())
        for a, b in zip(one[0].weights, two[0].weights, strict=True)
    )
    plain, model, _ = train(chosen.scope(), frozen=False)
    moving = next(v for v in plain.non_trainable_variables if "moving_mean" in v.path)
    local = [v.numpy() for v in chosen.strategy.experimental_local_results(moving.value)]
    synchronise(model)
    after = [v.numpy() for v in chosen.strategy.experimental_local_results(moving.value)]
    under = model.evaluate(data(), verbose=0, return_dict=True)
    plain.save(sys.argv[1])
    reloaded = keras_cnns.load_model(sys.argv[1])
    single = StepModel(reloaded.inputs, reloaded.get_layer("logits").output)
    single.compile("sgd", keras_cnns.ResNet20.head.loss())
    alone = single.evaluate(data(), verbose=0, return_dict=True)
    print(
        json.dumps(
            {
                "why": chosen.why,
                "losses": [one[2], two[2]],
                "difference": difference,
                "drifted": float(np.abs(local[0] - local[1]).max()),
                "is_mean": float(np.abs(after[0] - (local[0] + local[1]) / 2).max()),
                "apart": float(np.abs(after[0] - after[1]).max()),
                "under": under,
                "alone": alone,
            }
        )
    )


if __name__ == "__main__":
    main()
