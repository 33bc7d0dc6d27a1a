"""`backend` is the engine that Keras runs on (KERAS_BACKEND) and answers for all in which engines differ.

TensorFlow has everything. JAX and torch train by Keras' `fit`, read images in memory by NumPy and all others by
tf.data, if TensorFlow is installed, and refuse in one line what they lack (docs/engines.md).
"""

import keras

from training.engine.backend_jax_torch import Jax, Torch
from training.engine.backend_tensorflow import TensorFlow

backend = {engine.name: engine for engine in (TensorFlow(), Jax(), Torch())}[keras.backend.backend()]
