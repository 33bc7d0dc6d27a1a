"""Three compiled steps before the first real one: does XLA compile this network, on these devices?"""

import keras
import numpy as np

from training.engine.step import StepModel

STEPS = 3


def check_xla(model: StepModel, images: np.ndarray, labels: np.ndarray) -> str:
    """Tries the compiled half of the step and turns XLA off if it fails; says which and why in one line.

    The network is as before afterwards. What was compiled is used in training.

    Args:
        images: as many as a replica takes in one forward and backward pass, as they come in training.
        labels: of these images, as the loss takes them.
    """
    import tensorflow as tf

    model.make_functions()
    before = [(v, keras.ops.convert_to_numpy(v)) for v in model.non_trainable_variables]
    strategy = model.distribute_strategy
    half = tf.function(
        # A lambda around it: TensorFlow would lift the compilation of a bare tf.function around all replicas.
        lambda *data: strategy.run(lambda x, y: model.gradient_fn(x, y, None)[0], args=data),
        autograph=False,
    )
    try:
        for _ in range(STEPS):
            losses = strategy.experimental_local_results(half(tf.constant(images), tf.constant(labels)))
            if not all(np.isfinite(loss).all() for loss in losses):
                raise ValueError("a loss was not finite")
        return f"XLA: on for {'every replica' if len(losses) > 1 else 'the step'} ({STEPS} compiled steps worked)"
    except (tf.errors.OpError, ValueError, RuntimeError, TypeError, NotImplementedError) as error:
        model.xla = False
        model.make_functions()
        reason = " ".join(str(error).split())[:200]
        return f"XLA: off, for compiled steps fail here ({type(error).__name__}: {reason})"
    finally:
        for variable, value in before:
            variable.assign(value)
